//! Reading TOML documents.
