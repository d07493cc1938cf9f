//! The extend phase (platform.md, "Extender"; image_extension.md, "Phase: Extension").

mod context;
mod ignored;
mod layer_tar;
mod scan;
mod snapshot;
mod unpack;
mod users;
