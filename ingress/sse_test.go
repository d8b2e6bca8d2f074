package ingress

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// patient is a recorder that has deadlines.
type patient struct{ *httptest.ResponseRecorder }

func (patient) SetWriteDeadline(time.Time) error { return nil }

// A stream does not hold on to the largest event it ever wrote.
func TestEventsLetGo(t *testing.T) {
	w := patient{httptest.NewRecorder()}
	e := &events{w: w, c: http.NewResponseController(w), within: time.Second}
	large := bytes.Repeat([]byte("x"), 100<<10)
	for _, data := range [][]byte{large, []byte("small")} {
		w.Body.Reset()
		if err := e.send("1-2", "delta", data); err != nil {
			t.Fatal(err)
		}
		if want := "id: 1-2\nevent: delta\ndata: " + string(data) + "\n\n"; w.Body.String() != want {
			t.Errorf("%d bytes, want %d", w.Body.Len(), len(want))
		}
		if n := e.buf.Cap(); n > 8<<10 {
			t.Errorf("%d bytes are held after an event of %d", n, len(data))
		}
	}
}
