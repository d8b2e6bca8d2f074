package observe

import (
	"log"

	"github.com/rs/zerolog"
)

// quiet takes what net/http has to say into the debug log.
func quiet(l zerolog.Logger) *log.Logger { return log.New(debugWriter{l}, "", 0) }

type debugWriter struct{ l zerolog.Logger }

func (w debugWriter) Write(b []byte) (int, error) {
	w.l.Debug().Str("detail", Clip(string(b), MaxField)).Msg("metrics server")
	return len(b), nil
}
