package contracts

// Folded says what became of turns that were to be folded into a summary.
type Folded string

// The outcomes.
const (
	FoldedAll     Folded = "folded"  // a summary stands for all of them
	FoldedPart    Folded = "part"    // for the oldest of them: there were too many for one step
	FoldedNone    Folded = "none"    // nothing to do: they are folded or forgotten, or too few
	FoldedChanged Folded = "changed" // the session changed meanwhile, and is as it was
)
