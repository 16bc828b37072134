//! Opening the image as the command line says.

use block_gs::{Backend, BqlGuard, Perm};
use block_open::{OpenError, Opener, Options as NodeOptions, Value, for_filename};

use super::BenchError;
use super::plan::Setup;

/// The image below a backend that reads, or reads and writes.
pub fn open(bql: &mut BqlGuard, setup: &Setup) -> Result<Backend, BenchError> {
    let mut perm = Perm::CONSISTENT_READ;
    if setup.plan.pattern.is_some() {
        perm |= Perm::WRITE;
    }
    let could_not_open = |error| BenchError::Open {
        name: setup.filename.clone(),
        error,
    };
    for object in &setup.objects {
        add_object(bql, object)?;
    }
    let options = options(setup).map_err(could_not_open)?;
    let mut opener = Opener::new();
    let node = opener.open(bql, options).map_err(could_not_open)?;
    for warning in opener.take_warnings() {
        if !setup.quiet {
            eprintln!("{warning}");
        }
    }
    let disk = Backend::new(bql, "bench", perm, Perm::all())?;
    let inserted = disk.insert(bql, &node);
    inserted.map_err(|error| could_not_open(error.into()))?;
    disk.set_write_cache(bql, !setup.cache.writethrough);
    Ok(disk)
}

/// The type may stand first without its key.
fn add_object(bql: &mut BqlGuard, object: &str) -> Result<(), BenchError> {
    let first = object.split(',').next().unwrap_or_default();
    let options = match first.contains('=') {
        true => NodeOptions::parse(object),
        false => NodeOptions::parse(&format!("qom-type={object}")),
    };
    let added = options
        .map_err(OpenError::from)
        .and_then(|options| block_open::add_object(bql, options));
    added.map_err(|error| BenchError::Open {
        name: object.to_owned(),
        error,
    })
}

fn options(setup: &Setup) -> Result<NodeOptions, OpenError> {
    let mut options = if setup.image_opts {
        NodeOptions::parse(&setup.filename)?
    } else {
        let mut given = NodeOptions::new();
        if let Some(format) = &setup.format {
            given.set("driver", format.as_str());
        }
        for_filename(&setup.filename, given)?
    };
    options.set_default("read-only", setup.plan.pattern.is_none());
    options.set_default("cache.direct", setup.cache.direct);
    options.set_default("cache.no-flush", setup.cache.no_flush);
    if setup.force_share {
        options.set_default("force-share", true);
    }
    if let Some(aio) = &setup.aio
        && let Some(file) = file_level(&options)
    {
        options.set_default(&format!("{file}aio"), aio.as_str());
    }
    Ok(options)
}

/// Where in the options a file of the host is described: the beginning of its
/// keys. `None` when none is.
fn file_level(options: &NodeOptions) -> Option<String> {
    let mut level = String::new();
    loop {
        let is_file = match options.get(&format!("{level}driver")) {
            Some(Value::Text(driver)) => driver == "file" || driver == "host_device",
            _ => options.get(&format!("{level}filename")).is_some(),
        };
        if is_file {
            return Some(level);
        }
        level.push_str("file.");
        if !options.iter().any(|(key, _)| key.starts_with(&level)) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_found_wherever_it_is() {
        for (text, level) in [
            ("driver=file,filename=a", Some("")),
            ("driver=raw,file.filename=a", Some("file.")),
            (
                "driver=raw,file.driver=stats,file.file.driver=file",
                Some("file.file."),
            ),
            ("driver=raw,file.driver=null-co", None),
            ("driver=raw,file=node", None),
        ] {
            let options = NodeOptions::parse(text).expect(text);
            assert_eq!(file_level(&options).as_deref(), level, "{text}");
        }
    }
}
