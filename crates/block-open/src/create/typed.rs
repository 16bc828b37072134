//! Making an image from typed options, as `blockdev-create` does.

use block_common::{GraphError, Role};
use block_gs::{BqlGuard, CreateImage, MainLoop};

use super::driver::{Creating, How, Work};
use super::make::{prepare, write_image};
use super::{Create, by_name::refuse};
use crate::drivers::{Child, Driver, Key, Kind};
use crate::opening::{Opener, open_child};
use crate::{OpenError, Options, Value};

/// What `blockdev-create` is told: an image to be made, of which nothing has
/// been done yet.
///
/// ```
/// use block_gs::BlockLayer;
/// use block_open::{Options, TypedImage};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("disk.img");
/// let arguments = format!(r#"{{"driver":"file","filename":"{}","size":512}}"#, path.display());
/// let image = TypedImage::check(Options::from_json(&arguments)?)?;
/// BlockLayer::new()?.enter(|bql| image.create_now(bql))?;
/// assert_eq!(std::fs::metadata(&path)?.len(), 512);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is made yet"]
pub struct TypedImage {
    driver: &'static Driver,
    create: &'static Create,
    options: Options,
    opener: Opener,
}

/// The file of an image, which may be there or be described.
const FILE: Child = Child {
    name: "file",
    role: Role::IMAGE,
    required: true,
    about: "what the image is to be in",
};

impl TypedImage {
    /// Checks the options as by a schema: those that must be there are, each
    /// has its type, and there are no others.
    ///
    /// # Errors
    /// [`OpenError::Value`] in the words of a schema's reader.
    pub fn check(options: Options) -> Result<Self, OpenError> {
        TypedImage::check_for(options, Opener::new())
    }

    /// As [`check`](TypedImage::check), for somebody who may use some drivers
    /// only: what is described of the file is opened by `opener`.
    ///
    /// # Errors
    /// Those of [`check`](TypedImage::check), and one for a driver that may
    /// not be used.
    pub fn check_for(options: Options, opener: Opener) -> Result<Self, OpenError> {
        let mut left = options.clone();
        let driver = match left.remove("driver") {
            None => return Err(refuse("Parameter 'options.driver' is missing")),
            Some(Value::Text(name)) => Driver::find(&name).ok_or_else(|| {
                refuse(format!("Parameter 'driver' does not accept value '{name}'"))
            })?,
            Some(_) => return Err(wrong_type("options.driver", "string")),
        };
        let typed = driver
            .create
            .as_ref()
            .filter(|create| !create.typed.is_empty());
        let in_file = typed.is_some_and(|create| matches!(create.how, How::InFile(_)));
        if in_file {
            match (
                left.take_below(FILE.name).is_empty(),
                left.remove(FILE.name),
            ) {
                (true, None) => return Err(refuse("Parameter 'options.file' is missing")),
                (false, None) | (_, Some(Value::Text(_))) => {}
                (_, Some(_)) => return Err(wrong_type(FILE.name, "BlockdevRef")),
            }
        }
        for key in typed.map_or(&[][..], |create| create.typed) {
            let name = key.name;
            match left.remove(name) {
                None if key.required => {
                    return Err(refuse(format!("Parameter 'options.{name}' is missing")));
                }
                None => {}
                Some(value) => check_type(key, &value, options.is_typed())?,
            }
        }
        if let Some((key, _)) = left.iter().next() {
            let key = key.split('.').next().unwrap_or(key);
            return Err(refuse(format!("Parameter 'options.{key}' is unexpected")));
        }
        if !opener.allows(driver, false) {
            return Err(refuse("Driver is not whitelisted"));
        }
        match typed {
            Some(create) => Ok(TypedImage {
                driver,
                create,
                options,
                opener,
            }),
            None => Err(refuse("Driver does not support blockdev-create")),
        }
    }

    /// Makes the image (`bdrv_co_create`). What its file had is lost.
    ///
    /// I/O, in any thread: what needs the guard asks `main` for it. Do not
    /// await it while holding a request that a section may wait for.
    ///
    /// # Errors
    /// [`OpenError`]. A new file is gone then; one that was there has anything
    /// in it.
    pub async fn create(self, main: &MainLoop) -> Result<(), OpenError> {
        let TypedImage {
            driver,
            create,
            mut options,
            opener,
        } = self;
        options.remove("driver");
        match create.how {
            How::File(check) => {
                let work: Work = prepare(check, options, driver, false)?;
                Ok(work(main.clone()).await?)
            }
            How::InFile(check) => in_file(main, driver, check, options, opener).await,
            How::AsItsFile | How::Existing => {
                Err(refuse("Driver does not support blockdev-create"))
            }
        }
    }

    /// Makes the image now, while the main loop goes on.
    ///
    /// Needs the exclusive proof because it polls.
    ///
    /// # Errors
    /// Those of [`create`](TypedImage::create).
    pub fn create_now(self, bql: &mut BqlGuard) -> Result<(), OpenError> {
        let main = bql.main_loop();
        bql.block_on(self.create(&main))
    }
}

/// Makes an image in a file that is there, or described.
pub(super) async fn in_file(
    main: &MainLoop,
    driver: &'static Driver,
    check: fn(&mut Creating) -> Result<Box<dyn CreateImage>, OpenError>,
    mut options: Options,
    mut opener: Opener,
) -> Result<(), OpenError> {
    let opened = main.call(move |bql| {
        let file = open_child(&mut opener, bql, &mut options, &FILE, true)?;
        let file = file.ok_or(OpenError::NoChild(FILE.name))?;
        Ok::<_, OpenError>((file, options))
    });
    let (file, options) = opened.await.map_err(GraphError::from)??;
    let image = prepare(check, options, driver, false);
    let outcome = match image {
        Ok(image) => write_image(main, &file, image).await,
        Err(error) => Err(error),
    };
    // The last handle goes in the main loop, so that the file is closed when
    // whoever asked hears of the end.
    let closed = main.call(move |bql| {
        drop(file);
        bql.poll(block_io::aio::Wait::No);
    });
    closed.await.map_err(GraphError::from)?;
    outcome
}

fn wrong_type(name: &str, expected: &str) -> OpenError {
    refuse(format!(
        "Invalid parameter type for '{name}', expected: {expected}"
    ))
}

/// Values from a command line have no types; the driver looks at them.
fn check_type(key: &Key, value: &Value, is_typed: bool) -> Result<(), OpenError> {
    if !is_typed {
        return Ok(());
    }
    let name = key.name;
    let wrong = |expected| Err(wrong_type(&format!("options.{name}"), expected));
    match (key.kind, value) {
        (Kind::Text, Value::Text(_)) | (Kind::Switch, Value::Bool(_)) => Ok(()),
        (Kind::Text, _) => wrong("string"),
        (Kind::Switch, _) => wrong("boolean"),
        (Kind::Size, Value::Integer(number)) if u64::try_from(*number).is_ok() => Ok(()),
        (Kind::Size, _) => Err(refuse(format!("Parameter 'options.{name}' expects uint64"))),
        (Kind::Number, Value::Integer(number)) if i64::try_from(*number).is_ok() => Ok(()),
        (Kind::Number, _) => wrong("integer"),
        (Kind::Word(words), Value::Text(word)) if words.contains(&&**word) => Ok(()),
        (Kind::Word(_), Value::Text(word)) => Err(refuse(format!(
            "Parameter '{name}' does not accept value '{word}'"
        ))),
        (Kind::Word(_), _) => wrong("string"),
        (Kind::Words(_) | Kind::List(_), _) => wrong("array"),
    }
}
