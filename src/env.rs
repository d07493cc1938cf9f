//! How layers, the platform directory and the operator's build-config change an environment (buildpack.md, "Environment").
