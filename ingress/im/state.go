package im

// Connected is the State of a Connection that receives.
const Connected = "connected"
