//! New images of a chain.

use std::path::Path;

use block_gs::BqlGuard;
use block_open::{OpenError, Options, TypedImage};
use serde_json::{Value, json};

use super::{Chain, Layer};
use crate::tour::rng::Rng;

/// What an image is like inside. What it shows does not depend on it.
#[derive(Clone, Debug)]
pub struct Shape {
    cluster_size: u64,
    extended: bool,
    version: &'static str,
}

impl Shape {
    /// What images are like unless one says something else.
    pub fn usual() -> Self {
        Shape {
            cluster_size: 65536,
            extended: false,
            version: "v3",
        }
    }

    /// Clusters of any size from 4 KiB to 64 KiB, divided or not.
    pub fn some(rng: &mut Rng) -> Self {
        let cluster_size = 4096 << rng.below(5);
        Shape {
            cluster_size,
            // What is smaller cannot be divided.
            extended: cluster_size >= 16384 && rng.once_in(3),
            ..Shape::usual()
        }
        .old_one_in(rng, 6)
    }

    fn old_one_in(self, rng: &mut Rng, n: u64) -> Self {
        match !self.extended && rng.once_in(n) {
            true => Shape {
                version: "v2",
                ..self
            },
            false => self,
        }
    }
}

impl Chain {
    /// Makes an image, over the contents of `below` if that is given, and
    /// opens it. It has no children but its file yet: what is below comes with
    /// the change of the graph that puts it into the chain.
    pub fn image(
        &mut self,
        bql: &mut BqlGuard,
        shape: &Shape,
        below: Option<&Layer>,
    ) -> Result<Layer, OpenError> {
        self.made += 1;
        let name = format!("qcow2-{}", self.made);
        let path = self.dir.join(format!("{name}.qcow2"));
        let below = below.map(|below| file_name(&below.path));
        write(bql, &path, self.length, shape, below.as_deref())?;
        open(bql, &name, &path)
    }
}

/// The name by which an image in the same directory is known.
pub fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Options from a value whose keys are known to be fine.
pub fn options(value: &Value) -> Result<Options, OpenError> {
    Ok(Options::from_json(&value.to_string())?)
}

fn write(
    bql: &mut BqlGuard,
    path: &Path,
    length: u64,
    shape: &Shape,
    below: Option<&str>,
) -> Result<(), OpenError> {
    let file = json!({"driver": "file", "filename": path, "size": 0});
    TypedImage::check(options(&file)?)?.create_now(bql)?;
    let mut image = json!({
        "driver": "qcow2",
        "file": {"driver": "file", "filename": path},
        "size": length,
        "cluster-size": shape.cluster_size,
        "extended-l2": shape.extended,
        "version": shape.version,
    });
    if let Some(below) = below {
        image["backing-file"] = below.into();
        image["backing-fmt"] = "qcow2".into();
    }
    TypedImage::check(options(&image)?)?.create_now(bql)
}

fn open(bql: &mut BqlGuard, name: &str, path: &Path) -> Result<Layer, OpenError> {
    let file = format!("{name}-file");
    let described = json!({"driver": "file", "node-name": file, "filename": path});
    let opened = block_open::open(bql, options(&described)?)?;
    let described = json!({"driver": "qcow2", "node-name": name, "file": file, "backing": null});
    let node = block_open::open(bql, options(&described)?)?;
    Ok(Layer {
        path: path.to_owned(),
        file: opened,
        node,
    })
}
