//! Writing JSON as Go's `encoding/json` does: compact, `<`, `>`, `&`, U+2028 and U+2029 escaped.
