package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// asker gets values from flags, or from whoever sits there. What it reads of
// secrets it never writes.
type asker struct {
	out   *console
	quiet bool // nobody sits there
}

// text gives what a flag said, or asks. def is taken for an empty answer; without
// one, an answer is needed.
func (a asker) text(flag, question, given, def string) (string, error) {
	if given != "" {
		return given, nil
	}
	if a.quiet {
		if def == "" {
			return "", fmt.Errorf("%s is needed", flag)
		}
		return def, nil
	}
	if def != "" {
		question += " [" + def + "]"
	}
	fmt.Fprintf(a.out.err, "%s: ", question)
	answer, err := readLine(a.out.in)
	if answer = strings.TrimSpace(answer); answer == "" {
		answer = def
	}
	if answer == "" {
		if errors.Is(err, io.EOF) { // nobody sits there
			return "", fmt.Errorf("%s is needed, and the input has ended", flag)
		}
		return "", errors.Join(fmt.Errorf("%s is needed", flag), err)
	}
	return answer, nil
}

// secret gives the content of the file that a flag named, or asks without an echo.
// An empty answer is given back where made says what comes of it.
func (a asker) secret(flag, question, file, made string) (string, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s: %w", flag, err)
		}
		return goodSecret(flag, strings.TrimRight(string(b), "\r\n"))
	}
	if a.quiet {
		if made != "" {
			return "", nil
		}
		return "", fmt.Errorf("%s is needed", flag)
	}
	if made != "" {
		question += " (empty: " + made + ")"
	}
	fmt.Fprintf(a.out.err, "%s: ", question)
	answer, err := a.hidden()
	if answer = strings.TrimSpace(answer); answer == "" && made != "" {
		return "", nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return goodSecret(flag, answer)
}

// goodSecret finds slips of the clipboard. The error never quotes the value.
func goodSecret(flag, value string) (string, error) {
	switch {
	case value == "":
		return "", fmt.Errorf("%s: it is empty", flag)
	case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "", fmt.Errorf("%s: it holds a space or a character that no secret has", flag)
	}
	return value, nil
}

// hidden reads a line that does not show.
func (a asker) hidden() (string, error) {
	if f, is := a.out.in.(*os.File); is && term.IsTerminal(int(f.Fd())) {
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.out.err)
		return string(b), err
	}
	return readLine(a.out.in)
}

const longLine = 4 << 10

// readLine takes no byte behind the line: another reader wants it.
func readLine(in io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < longLine {
		n, err := in.Read(b[:])
		if n == 1 && b[0] == '\n' {
			break
		}
		line = append(line, b[:n]...)
		if err != nil {
			return string(line), err
		}
	}
	return strings.TrimSuffix(string(line), "\r"), nil
}
