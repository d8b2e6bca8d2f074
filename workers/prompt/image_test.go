package prompt

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
)

func dataURL(kind string, content []byte) string {
	return "data:image/" + kind + ";base64," + base64.StdEncoding.EncodeToString(content)
}

// webpOf is the beginning of an extended WebP file: what says its size.
func webpOf(width, height int) []byte {
	b := []byte("RIFF\x00\x01\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10\x00\x00\x00")
	w, h := width-1, height-1
	return append(b, byte(w), byte(w>>8), byte(w>>16), byte(h), byte(h>>8), byte(h>>16))
}

func pictures(t testing.TB, width, height int) map[string]string {
	t.Helper()
	gray := image.NewGray(image.Rect(0, 0, width, height))
	var p, j, g bytes.Buffer
	for _, err := range []error{
		png.Encode(&p, gray), jpeg.Encode(&j, gray, nil), gif.Encode(&g, image.NewPaletted(gray.Rect, palette.Plan9), nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{
		"png": dataURL("png", p.Bytes()), "jpeg": dataURL("jpeg", j.Bytes()), "gif": dataURL("gif", g.Bytes()), "webp": dataURL("webp", webpOf(width, height)),
	}
}

func TestImagesAreCountedByTheProvidersRule(t *testing.T) {
	for _, c := range []struct{ width, height, high, claude int }{
		{1, 1, 255, 1}, {512, 512, 255, 350}, {513, 512, 425, 351},
		{1024, 1024, 765, 1399}, // 768 x 768: 4 tiles
		{2048, 768, 1445, 1230}, // 8 tiles; 1568 x 588
		{768, 2048, 1445, 1230},
		{2048, 4096, 1105, 1600}, // 1024 x 2048, then 768 x 1536: 6 tiles
		{4096, 1, 765, 1},        // 2048 x 1: 4 tiles
	} {
		for kind, address := range pictures(t, c.width, c.height) {
			for detail, want := range map[string]int{"": c.high, "auto": c.high, "high": c.high, "low": 85} {
				if got := ImageTokens("gpt-4o", address, detail); got != want {
					t.Errorf("%dx%d %s %q: %d, want %d", c.width, c.height, kind, detail, got, want)
				}
			}
			if got := ImageTokens("claude-sonnet-4-5", address, "low"); got != c.claude {
				t.Errorf("%dx%d %s: %d for Claude, want %d", c.width, c.height, kind, got, c.claude)
			}
		}
	}
}

func TestImagesOfUnknownSize(t *testing.T) {
	good := pictures(t, 64, 64)["png"]
	for _, address := range []string{
		"https://example.org/cat.png", "data:image/png;base64,", "data:image/png;base64,!!!!", "data:image/png;base64,aGVsbG8=", good[:60], "", "data:,", "data:image/png," + good,
	} {
		if got := ImageTokens("gpt-4o", address, ""); got != 765 {
			t.Errorf("%.40q: %d", address, got)
		}
	}
	// A type that says another format than the image is in: the image is right.
	if got := ImageTokens("gpt-4o", strings.Replace(good, "png", "gif", 1), ""); got != 255 {
		t.Errorf("another type: %d", got)
	}
}

func TestHostileImagesStayQuick(t *testing.T) {
	segments := append([]byte("\xff\xd8"), bytes.Repeat(append([]byte("\xff\xe1\xff\xff"), make([]byte, 0xfffd)...), 12)...)
	began := time.Now()
	for name, content := range map[string][]byte{
		"huge png":   append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\x00\x00\x00"), 0, 0, 0, 0),
		"long chunk": []byte("\x89PNG\r\n\x1a\n\x7f\xff\xff\xffIHDR"),
		"segments":   segments,
		"empty ones": append([]byte("\xff\xd8"), bytes.Repeat([]byte("\xff\xe1\x00\x02"), 200_000)...),
		"long webp":  []byte("RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\x7f"),
		"zero gif":   []byte("GIF89a\x00\x00\x00\x00\x00\x00\x00"),
	} {
		if got := ImageTokens("gpt-4o", dataURL("png", content), ""); got != 765 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %s", took)
	}
}

// TestSizeBehindAProfile is a photograph as cameras make them.
func TestSizeBehindAProfile(t *testing.T) {
	encoded := pictures(t, 512, 512)["jpeg"]
	plain, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(encoded, "data:image/jpeg;base64,"))
	if err != nil {
		t.Fatal(err)
	}
	profile := append([]byte("\xff\xe1\xff\xff"), make([]byte, 0xfffd)...)
	photo := bytes.Join([][]byte{plain[:2], profile, profile, plain[2:]}, nil)
	if got := ImageTokens("gpt-4o", dataURL("jpeg", photo), ""); got != 255 {
		t.Errorf("%d", got)
	}
}

func TestImagesOfTheLastMessage(t *testing.T) {
	picture := contracts.PromptPart{Image: pictures(t, 512, 512)["png"]}
	user := func(parts ...contracts.PromptPart) model.Message {
		return model.Message{Role: model.RoleUser, Parts: parts}
	}
	answer := model.Message{Role: model.RoleAssistant, Text: "x"}
	for name, c := range map[string]struct {
		messages []model.Message
		want     int
	}{
		"none": {nil, 0}, "text": {[]model.Message{user(contracts.PromptPart{Text: "x"})}, 0},
		"two":      {[]model.Message{user(picture, contracts.PromptPart{Text: "x"}, picture)}, 510},
		"before":   {[]model.Message{user(picture), answer, {Role: model.RoleUser, Text: "x"}}, 0},
		"a tool":   {[]model.Message{user(picture), answer, {Role: model.RoleTool, Text: "x"}}, 255},
		"the last": {[]model.Message{user(picture, picture), answer, user(picture)}, 255},
	} {
		if got := ImagesOf("gpt-4o", c.messages); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func FuzzImageTokens(f *testing.F) {
	for _, address := range pictures(f, 100, 50) {
		content, err := base64.StdEncoding.DecodeString(address[strings.IndexByte(address, ',')+1:])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		address := dataURL("png", content)
		if n := ImageTokens("gpt-4o", address, ""); n < lowTokens+tileTokens || n > lowTokens+8*tileTokens {
			t.Errorf("%d tokens", n)
		}
		if n := ImageTokens("claude", address, ""); n < 1 || n > mostImageTokens {
			t.Errorf("%d tokens for Claude", n)
		}
	})
}

func FuzzRules(f *testing.F) {
	f.Add(1, math.MaxInt32)
	f.Fuzz(func(t *testing.T, width, height int) {
		if width < 1 || height < 1 {
			return
		}
		n, m := openAITokens(float64(width), float64(height)), openAITokens(float64(height), float64(width))
		if n != m || n < 255 || n > 1445 {
			t.Errorf("%dx%d: %d and %d tokens", width, height, n, m)
		}
	})
}
