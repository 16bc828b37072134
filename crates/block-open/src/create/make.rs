//! The steps of making an image: its file, the node of that, what a format
//! writes into it.

use std::sync::Arc;

use block_common::error::errno;
use block_common::{GraphError, Preallocation};
use block_gs::{CreateImage, MainLoop, NewImage, Node};
use block_io::{Activity, WriteFlags};

use super::driver::{Creating, How, SECTOR};
use super::given::Given;
use crate::drivers::{Driver, Key};
use crate::filename::{for_filename, protocol_of};
use crate::opening::Opener;
use crate::{OpenError, Options};

/// Lets a driver check the options for its image, and refuses what it does
/// not take of them.
pub(super) fn prepare<T>(
    check: fn(&mut Creating) -> Result<T, OpenError>,
    options: Options,
    driver: &'static Driver,
    plain_words: bool,
) -> Result<T, OpenError> {
    let mut creating = Creating {
        options,
        plain_words,
    };
    let checked = check(&mut creating)?;
    match creating.options.iter().next() {
        None => Ok(checked),
        Some((option, _)) => Err(OpenError::FormatOption {
            driver: driver.name,
            option: option.to_owned(),
        }),
    }
}

/// Makes the file that `filename` says, by its protocol
/// (`bdrv_co_create_file`), with what is left of the options.
pub(super) async fn make_file(
    main: &MainLoop,
    protocol: &'static Driver,
    filename: &str,
    given: &mut Given,
) -> Result<(), OpenError> {
    let Some(create) = &protocol.create else {
        let name = protocol.name;
        let message = format!("Driver '{name}' does not support image creation");
        return Err(OpenError::Value(message));
    };
    let mut options = given.take(create)?;
    match create.how {
        How::File(check) => {
            if let Some(protocol) = &protocol.protocol {
                (protocol.parse)(filename, &mut options, 0)?;
            }
            let work = prepare(check, options, protocol, true)?;
            Ok(work(main.clone()).await?)
        }
        How::Existing => {
            let size = prepare(take_size_alone, options, protocol, true)?;
            use_existing(main, protocol, filename, size).await
        }
        // Neither is what a file name leads to.
        How::AsItsFile | How::InFile(_) => Err(OpenError::NoFilename(protocol.name)),
    }
}

/// Makes the empty file that `filename` says, and opens it: for an image that
/// keeps something beside itself. What was there is lost.
pub(crate) async fn make_beside(main: &MainLoop, filename: &str) -> Result<Node, OpenError> {
    let protocol = protocol_of(filename)?;
    if let Some(create) = &protocol.create {
        let mut given = Given::none(create, create);
        make_file(main, protocol, filename, &mut given).await?;
    }
    open_file(main, protocol, filename.to_owned()).await
}

/// Makes the file and lets a format write its image into it
/// (`bdrv_co_create_opts` of formats).
pub(super) async fn make_in_file(
    main: &MainLoop,
    protocol: &'static Driver,
    filename: &str,
    given: &mut Given,
    image: Box<dyn CreateImage>,
) -> Result<(), OpenError> {
    make_file(main, protocol, filename, given).await?;
    let name = filename.to_owned();
    let file = open_file(main, protocol, name).await?;
    let outcome = write_image(main, &file, image).await;
    if outcome.is_err() {
        delete(&file).await;
    }
    // The last handle goes in the main loop, so that the file is closed when
    // whoever asked hears of the end.
    let closed = main.call(move |bql| {
        drop(file);
        bql.poll(block_io::aio::Wait::No);
    });
    closed.await.map_err(GraphError::from)?;
    outcome
}

/// Lets a format write its image into `file`, as somebody who writes to it.
pub(super) async fn write_image(
    main: &MainLoop,
    file: &Node,
    image: Box<dyn CreateImage>,
) -> Result<(), OpenError> {
    let file = file.clone();
    let opened = main.call(move |bql| NewImage::over(bql, &file)).await;
    let opened = opened.map_err(GraphError::from)??;
    Ok(image.create(opened).await?)
}

async fn open_file(
    main: &MainLoop,
    protocol: &'static Driver,
    filename: String,
) -> Result<Node, OpenError> {
    let opened = main.call(move |bql| {
        let mut options = Options::new();
        options.set("driver", protocol.name);
        let options = for_filename(&filename, options)?;
        Opener::new().open(bql, options)
    });
    opened.await.map_err(GraphError::from)?
}

/// Deletes what is no image (`bdrv_co_delete_file_noerr`). The first error
/// says more than one about that.
async fn delete(file: &Node) {
    let activity = Activity::begin(Arc::clone(file.io())).await;
    let _ = activity.request().delete_file().await;
}

/// Gives what is there the size, and takes away what it was before: the first
/// sector, which tells formats (`bdrv_co_create_opts_simple`).
async fn use_existing(
    main: &MainLoop,
    protocol: &'static Driver,
    filename: &str,
    size: u64,
) -> Result<(), OpenError> {
    let opened = open_file(main, protocol, filename.to_owned()).await;
    let file = opened.map_err(|error| OpenError::NoExistingImage {
        driver: protocol.name,
        error: Box::new(error),
    })?;
    let opened = main.call(move |bql| NewImage::over(bql, &file)).await;
    let image = opened
        .map_err(GraphError::from)?
        .map_err(|error| OpenError::NoExistingImage {
            driver: protocol.name,
            error: Box::new(error.into()),
        })?;
    let io = async || {
        let root = image.root();
        match root.truncate(size, false, Preallocation::Off).await {
            // What cannot change its length has to be long enough.
            Err(error) if error.errno() == errno::ENOTSUP => {
                if root.length().await? < size {
                    return Err(error);
                }
            }
            outcome => outcome?,
        }
        let first = size.min(SECTOR).min(root.length().await?);
        if first > 0 {
            root.write_zeroes(0, first, WriteFlags::MAY_UNMAP).await?;
        }
        Ok(())
    };
    let outcome = io().await.map_err(GraphError::from);
    let closed = image.into_file().await;
    outcome?;
    closed?;
    Ok(())
}

const SIZE: Key = Key::size("size", "how long it is to be");
const PREALLOCATION: Key = Key::word(
    "preallocation",
    "what is allocated in advance: nothing can be",
    &["off", "metadata", "falloc", "full"],
);

fn take_size_alone(creating: &mut Creating) -> Result<u64, OpenError> {
    match creating.word(&PREALLOCATION)? {
        None | Some("off") => {}
        Some(word) => {
            let message = format!("Unsupported preallocation mode '{word}'");
            return Err(OpenError::Value(message));
        }
    }
    Ok(creating.size(&SIZE)?.unwrap_or(0))
}
