// Package contracts is what the roles agree on: message envelopes, message ids,
// subjects, streams, Redis keys, stored records, API bodies and error codes. It
// holds data and pure functions only; it opens no socket, reads no file and
// imports nothing but the standard library.
package contracts

import "fmt"

// Version is the version of every envelope and record that this build writes.
// A build reads Version and Version-1; anything else is dead-lettered as
// unsupported and can be replayed after an upgrade.
const Version = 5

// OldestVersion is the oldest envelope and record version this build reads.
const OldestVersion = 4

func supported(v int) bool { return v >= OldestVersion && v <= Version }

func versionError(v int) error { return fmt.Errorf("%w %d", ErrVersion, v) }
