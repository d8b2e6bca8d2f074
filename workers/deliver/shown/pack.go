package shown

import "strings"

// packer fills parts with blocks.
type packer struct {
	*dialect
	parts []string
	part  strings.Builder
	used  size
}

func (p *packer) flush() {
	if p.part.Len() == 0 {
		return
	}
	p.parts = append(p.parts, p.part.String())
	p.part.Reset()
	p.used = size{}
}

func (p *packer) left() size { return p.whole().minus(p.used) }

// piece is a written block.
type piece struct {
	text  string
	tight bool
	size  size // without what stands before it
}

func (p *packer) piece(b *block) piece {
	text := p.write(b)
	return piece{text, b.tight, p.measure(text)}
}

// between is what stands before it where something does.
func (p *packer) between(x piece) string {
	switch {
	case p.part.Len() == 0:
		return ""
	case x.tight:
		return "\n"
	}
	return "\n\n"
}

// fits reports whether it has room in the part that is being filled.
func (p *packer) fits(x piece) bool {
	return p.measure(p.between(x)).plus(x.size).within(p.left())
}

func (p *packer) add(x piece) {
	between := p.between(x)
	if between == "" {
		x.text = strings.TrimLeft(x.text, " ") // indented it would be code
	}
	p.part.WriteString(between + x.text)
	p.used = p.used.plus(p.measure(between)).plus(x.size)
}

// pack keeps groups together where they fit, else blocks, and cuts blocks that do
// not fit anywhere.
func (p *packer) pack(blocks []block) {
	for len(blocks) > 0 {
		n := 1
		for n < len(blocks) && blocks[n].group == blocks[0].group {
			n++
		}
		p.group(blocks[:n])
		blocks = blocks[n:]
	}
}

func (p *packer) group(blocks []block) {
	pieces, sum := make([]piece, len(blocks)), size{}
	for i := range blocks {
		pieces[i] = p.piece(&blocks[i])
		sum = sum.plus(pieces[i].size)
		if i > 0 {
			sum = sum.plus(p.measure("\n\n"))
		}
	}
	if all := (piece{size: sum}); !p.fits(all) && sum.within(p.whole()) {
		p.flush()
	}
	for i, x := range pieces {
		if p.fits(x) && !p.stranded(pieces[i:]) {
			p.add(x)
			continue
		}
		if x.size.within(p.whole()) {
			p.flush()
			p.add(x)
			continue
		}
		p.cut(blocks[i])
	}
}

// stranded reports whether the first of pieces, such as a heading, would be the
// last of its part although others follow it.
func (p *packer) stranded(pieces []piece) bool {
	if len(pieces) < 2 || pieces[1].tight || p.part.Len() == 0 {
		return false
	}
	rest := p.left().minus(pieces[0].size).minus(p.measure("\n\n\n\n"))
	return !pieces[1].size.within(rest) && (pieces[1].size.within(p.whole()) || rest.bytes < p.maxBytes/4)
}

// cut fills parts with a block that is longer than one.
func (p *packer) cut(b block) {
	if p.used.bytes > p.maxBytes/2 || p.used.runes > p.maxRunes/2 {
		p.flush()
	}
	for {
		room := p.left()
		if p.part.Len() > 0 {
			room = room.minus(p.measure("\n\n"))
		}
		head, tail, ok := p.split(b, room)
		if !ok {
			if p.part.Len() == 0 { // not even a character: the limit is absurd for it
				head, tail = b, block{}
			} else {
				p.flush()
				continue
			}
		}
		p.add(p.piece(&head))
		if len(tail.spans) == 0 && len(tail.lines) == 0 {
			return
		}
		p.flush()
		b = tail
		if x := p.piece(&b); x.size.within(p.whole()) {
			p.add(x)
			return
		}
	}
}

// split gives what of b has room, and the rest.
func (p *packer) split(b block, room size) (head, tail block, ok bool) {
	head, tail = b, b
	tail.first, tail.tight = b.rest, false
	if b.lines != nil {
		var torn bool
		if head.lines, tail.lines, torn = p.splitLines(b, room); torn {
			tail.head = 0
		}
		return head, tail, len(head.lines) > 0
	}
	head.spans, tail.spans = p.splitSpans(b, room)
	return head, tail, len(head.spans) > 0
}

// splitLines cuts code between its lines; torn says that it was within the first.
func (p *packer) splitLines(b block, room size) (head, tail []string, torn bool) {
	room = room.minus(p.measure(fence + b.lang + "\n" + fence))
	whole, n := room, 0
	for ; n < len(b.lines); n++ {
		next := room.minus(p.measure(b.lines[n] + "\n"))
		if next.bytes < 0 || next.runes < 0 {
			break
		}
		room = next
	}
	if n > b.head {
		tail = b.lines[n:]
		if b.head > 0 && len(tail) > 0 {
			tail = append(append([]string{}, b.lines[:b.head]...), tail...)
		}
		return b.lines[:n], tail, false
	}
	// A line of its own is longer than a part: it goes on in the next.
	line := strings.Join(b.lines[:b.head+1], "\n")
	end := border(line, p.prefix(line, whole.minus(p.measure("\n"))))
	if end == 0 {
		return nil, b.lines, false
	}
	return strings.Split(line[:end], "\n"), append([]string{line[end:]}, b.lines[b.head+1:]...), true
}
