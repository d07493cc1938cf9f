//! Build contexts of extensions (image_extension.md, "context folders").

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use tracing::debug;

use crate::bail;
use crate::error::{Error, Result};

/// One context for both images, or one for each: not both forms.
pub(super) fn check(outputs: &Path) -> Result<()> {
    let shared = outputs.join("context");
    let is_shared = is_dir(&shared)?;
    if is_shared {
        debug!("found shared extension context {shared:?}");
    }
    let mut found = usize::from(is_shared);
    for name in ["context.build", "context.run"] {
        let context = outputs.join(name);
        if !is_dir(&context)? {
            continue;
        }
        if is_shared {
            bail!("image-specific context dir is provided together with a shared context");
        }
        debug!("found extension context {context:?}");
        found += 1;
    }
    debug!("Found '{found}' Build Contexts for processing");
    Ok(())
}

fn is_dir(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("stat", path, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_and_specific_contexts_exclude_each_other() {
        for (dirs, is_good) in [
            (&[][..], true),
            (&["context"], true),
            (&["context.build", "context.run"], true),
            (&["context", "context.run"], false),
            (&["context", "context.build"], false),
        ] {
            let outputs = tempfile::tempdir().unwrap();
            for dir in dirs {
                fs::create_dir(outputs.path().join(dir)).unwrap();
            }
            assert_eq!(check(outputs.path()).is_ok(), is_good, "{dirs:?}");
        }
    }
}
