//! Reproducible layer tars, equal to the reference's to the byte (layer-tar-rules.md).

pub mod extension;
pub mod header;
pub mod out;
pub mod special;
pub mod tee;
pub mod walk;
pub mod watch;

/// 1980-01-01T00:00:01Z, the modification time of every entry. SOURCE_DATE_EPOCH does not touch it.
pub const MTIME: i64 = 315_532_801;

/// Tars consist of blocks of this many bytes.
pub const BLOCK: usize = 512;
