//! The slim launcher, the file that goes into every app image.

fn main() {}
