//! Saving an image, with the lines that platforms look for.

use tracing::{debug, debug_span, info};

use crate::data::report::ImageReport;
use crate::error::Result;
use crate::image::{ImageDraft, ImageWriter};

/// Commits the image under all names of the writer.
pub fn save(writer: Box<dyn ImageWriter>, draft: &ImageDraft) -> Result<ImageReport> {
    let names = writer.shown_names();
    let name = names.first().map_or("", String::as_str);
    let _span = debug_span!("save", name).entered();
    let _timing = crate::phase::timing::measure(format!("Saving {name}..."));
    info!("Saving {name}...");
    let saved = writer.commit(draft)?;
    let id = match (&saved.image_id, &saved.digest) {
        (Some(id), _) => id.get(..12).unwrap_or(id),
        (None, Some(digest)) => digest.as_str(),
        (None, None) => &saved.identifier,
    };
    info!("*** Images ({id}):");
    for name in &saved.names {
        info!("      {name}");
    }
    if let Some(id) = &saved.image_id {
        debug!("*** Image ID: {id}");
    } else if let Some(digest) = &saved.digest {
        debug!("*** Digest: {digest}");
    }
    if saved.manifest_size > 0 {
        debug!("*** Manifest Size: {}", saved.manifest_size);
    }
    Ok(ImageReport {
        tags: saved.names,
        image_id: saved.image_id.unwrap_or_default(),
        digest: saved.digest.map(|digest| digest.to_string()).unwrap_or_default(),
        manifest_size: saved.manifest_size,
    })
}
