//! What a person sees: all messages of the program go to stdout, without timestamps or targets.
//!
//! Code logs with `tracing`'s macros; the text of an event's message is one line. Fields other than the message are not
//! shown (they are for traces).
