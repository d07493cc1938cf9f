//! The launch phase (platform.md, "Launch"; buildpack.md, "Launch").
