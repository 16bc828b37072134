//! Images that take writes nobody wants to keep.

use block_gs::{BqlGuard, GraphError, Node};

use crate::opening::open_image;
use crate::{ImageSpec, OpenError, Opener, Options, TemporaryFile, Value, general, values};

/// See [`Opener::open_discarding`].
pub(crate) fn open_below_overlay(
    opener: &mut Opener,
    bql: &mut BqlGuard,
    mut options: Options,
) -> Result<Node, OpenError> {
    let mut above = Options::new();
    above.set("driver", "qcow2");
    above.set("file.driver", "file");
    above.set("cache.direct", false);
    above.set("cache.no-flush", true);
    for key in [general::READ_ONLY.name, "discard"] {
        if let Some(value) = options.get(key) {
            above.set(key, value.clone());
        }
    }
    // What a user knows by its name is the overlay.
    if let Some(name) = values::text(&mut options, general::NODE_NAME.name)? {
        above.set(general::NODE_NAME.name, name);
    }
    options.set(general::READ_ONLY.name, true);
    let base = open_image(opener, bql, options)?;
    let file = TemporaryFile::create()?;
    let path = file.path().to_string_lossy().into_owned();
    let length = base.io().length();
    let image = ImageSpec::new(&path, "qcow2").size(length).plan(bql);
    let made = image.and_then(|image| image.create_now(bql));
    made.map_err(|error| GraphError::Refused {
        message: format!("Could not create temporary overlay '{path}': {error}"),
        errno: error.errno(),
    })?;
    above.set("file.filename", path);
    above.set("backing", Value::Text(base.name().to_owned()));
    // Whoever has the file open keeps it.
    open_image(opener, bql, above)
}
