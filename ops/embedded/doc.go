// Package embedded holds what `moltbot up` runs inside or beside itself: the
// lock on the data directory, a NATS server in this process, and Redis as a
// child process or, where none is installed, as an in-process stand-in. It
// never listens beyond this machine and never decides what is stored.
package embedded
