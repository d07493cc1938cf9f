//! The multi-call binary: dispatches on `argv[0]`.

fn main() {}
