package chain

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// A half-open circuit has one permit. If it got lost, nobody could call the
// provider any more.
func TestTheTrialsPermitIsNeverLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 3000 {
			b := newBreaker("p", zerolog.Nop())
			for range breakAt {
				p, _ := b.enter()
				p.leave(true, false)
			}
			<-time.After(breakPause)
			var calls, entered sync.WaitGroup
			begin := make(chan struct{})
			for range 8 {
				entered.Add(1)
				calls.Go(func() {
					<-begin
					p, ok := b.enter()
					entered.Done()
					entered.Wait() // a call takes its time
					if ok {
						p.leave(false, false)
					}
				})
			}
			close(begin)
			calls.Wait()
			p, ok := b.enter()
			if !ok {
				t.Fatal("the trial's permit was not given back")
			}
			p.leave(false, false)
		}
	})
}
