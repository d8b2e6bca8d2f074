package dead

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/workers/workerstest"
)

func (r *rig) list(f contracts.DeadFilter) contracts.AdminDead {
	r.Helper()
	page, err := r.letters.List(r.Context(), f)
	workerstest.Must(r, err)
	return page
}

func TestListFilters(t *testing.T) {
	r := newRig(t)
	if page := r.list(contracts.DeadFilter{Limit: 5}); len(page.Letters) != 0 || page.Letters == nil || page.Total != 0 || page.Next != 0 {
		t.Errorf("empty: %+v", page)
	}
	a, b := r.id("a"), r.id("b")
	one := r.bury("workers", r.chat(a, contracts.CodeDead))
	two := r.bury("deliver", r.send(a, contracts.CodeUndelivered))
	three := r.bury("workers", r.chat(b, contracts.CodeStale))
	four := r.raw("workers", []byte("hostile"))
	for name, c := range map[string]struct {
		f    contracts.DeadFilter
		want []uint64
	}{
		"all":          {contracts.DeadFilter{}, []uint64{four, three, two, one}},
		"role":         {contracts.DeadFilter{Role: "deliver"}, []uint64{two}},
		"strange role": {contracts.DeadFilter{Role: "a.b>*"}, nil},
		"code":         {contracts.DeadFilter{Code: contracts.CodeStale}, []uint64{three}},
		"channel":      {contracts.DeadFilter{Channel: contracts.ChannelFeishu}, []uint64{three, two, one}},
		"conversation": {contracts.DeadFilter{Conversation: a.Conversation}, []uint64{two, one}},
		"since":        {contracts.DeadFilter{Since: time.Now().Add(time.Hour)}, nil},
		"before":       {contracts.DeadFilter{Until: three}, []uint64{two, one}},
	} {
		c.f.Limit = 10
		var got []uint64
		for _, l := range r.list(c.f).Letters {
			got = append(got, l.Sequence)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}
	page := r.list(contracts.DeadFilter{Limit: 10})
	if len(page.Counts) != 4 || page.Partial || page.Total != 4 {
		t.Errorf("counts %+v", page)
	}
	text, err := json.Marshal(page)
	workerstest.Must(t, err)
	if strings.Contains(string(text), canary) || strings.Contains(string(text), "the reason") {
		t.Error("a list shows what was said")
	}
}

// Thousands of large letters with gaps between them are listed page by page, each
// once, and are never in memory together.
func TestListPagesOverThousands(t *testing.T) {
	r := newRig(t)
	const letters, size = 5000, 8 << 10
	d := r.chat(r.id("a"), contracts.CodeDead)
	d.Original = append(d.Original, make([]byte, size)...)
	data, err := contracts.EncodeDead(d)
	workerstest.Must(t, err)
	for range letters {
		_, err := r.js.PublishAsync(contracts.SubjectDead("workers"), data)
		workerstest.Must(t, err)
	}
	<-r.js.PublishAsyncComplete()
	for seq := uint64(1000); seq < 1500; seq++ {
		workerstest.Must(t, r.letters.delete(t.Context(), seq))
	}
	// The broker runs in this process, too, with caches of its own: so two lists are
	// kept, of 75 MB of letters.
	before := heap()
	var kept []contracts.AdminDead
	for range 2 {
		kept = append(kept, r.pages(letters)...)
	}
	if grown := heap() - before; grown > 32<<20 {
		t.Errorf("%d bytes are kept of %d letters", grown, 2*(letters-500))
	}
	runtime.KeepAlive(kept)
	// With less patience a page ends early and says where it goes on.
	r.letters.o.Most = 700
	page := r.list(contracts.DeadFilter{Limit: 5, Code: contracts.CodeStale})
	if !page.Partial || page.Next == 0 || len(page.Letters) != 0 {
		t.Errorf("%+v", page)
	}
	if page = r.list(contracts.DeadFilter{Limit: 5, Until: page.Next}); len(page.Letters) != 5 || page.Letters[0].Sequence > letters-700 {
		t.Errorf("%+v", page)
	}
}

// pages lists everything, 500 of the letters having been dropped.
func (r *rig) pages(letters int) (kept []contracts.AdminDead) {
	t := r.T
	t.Helper()
	seen, pages, last := 0, 0, uint64(letters+1)
	for f := (contracts.DeadFilter{Limit: 500}); ; pages++ {
		page := r.list(f)
		kept = append(kept, page)
		for _, l := range page.Letters {
			if l.Sequence >= last {
				t.Fatalf("%d comes behind %d", l.Sequence, last)
			}
			last = l.Sequence
			seen++
		}
		if f.Until == 0 && (page.Partial || len(page.Counts) != 1 || page.Counts[0].Count != letters-500) {
			t.Errorf("counts %+v, partial %v", page.Counts, page.Partial)
		}
		if f.Until = page.Next; f.Until == 0 {
			break
		}
	}
	if seen != letters-500 || pages != 8 || len(kept) != 9 {
		t.Errorf("%d letters on %d pages", seen, pages+1)
	}
	return kept
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
