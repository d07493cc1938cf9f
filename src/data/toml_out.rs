//! Writing TOML in the layout of the reference (BurntSushi/toml): dependencies.md §8.
