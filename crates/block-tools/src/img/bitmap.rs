//! `bitmap`: dirty bitmaps that are kept with an image.

use block_gs::{
    BitmapError, BitmapOptions, BqlGuard, DirtyBitmap, GraphError, Node, inactivate_all,
};

use super::call::{Call, Command, Failed, because, fail, size, strerror};
use super::image::{Image, OpenAs};
use crate::getopt::Known;

pub(super) static COMMAND: Command = Command {
    name: "bitmap",
    about: "Changes dirty bitmaps that are kept with an image",
    usage: "(--add | --remove | --clear | --enable | --disable | --merge SOURCE)...\n         \
            [-f FMT | --image-opts] [-g SIZE] [-b FILE [-F FMT]] FILE BITMAP",
    help: "      --add                makes the bitmap; it notes what is written from now on
  -g, --granularity SIZE   how many bytes a bit of it is to stand for
      --remove             gives it up
      --clear              makes it clean
      --enable, --disable  lets it note writes, or no longer
      --merge SOURCE       makes dirty what is dirty in the bitmap SOURCE too,
  -b, --source-file FILE   which is in this image and not in the same,
  -F, --source-format FMT  whose format is this
  -f, --format FMT         what the image is; without, it is looked into
      --image-opts         FILE is a string of options
      --object OBJECT      makes an object that options refer to

What is to be done is done in the order in which it is said.
",
    known: &[
        Known::both('h', "help"),
        Known::both('f', "format").value(),
        Known::name("image-opts"),
        Known::name("add"),
        Known::both('g', "granularity").value(),
        Known::name("remove"),
        Known::name("clear"),
        Known::name("enable"),
        Known::name("disable"),
        Known::name("merge").value(),
        Known::both('b', "source-file").value(),
        Known::both('F', "source-format").value(),
        Known::name("object").value(),
    ],
    run,
};

/// One thing to be done.
#[derive(PartialEq, Eq)]
enum Action {
    Add,
    Remove,
    Clear,
    Enable,
    Disable,
    Merge(String),
}

impl Action {
    fn name(&self) -> &'static str {
        match self {
            Action::Add => "add",
            Action::Remove => "remove",
            Action::Clear => "clear",
            Action::Enable => "enable",
            Action::Disable => "disable",
            Action::Merge(_) => "merge",
        }
    }
}

fn run(bql: &mut BqlGuard, call: &Call<'_>) -> Result<u8, Failed> {
    let (mut format, mut with) = (None, OpenAs::default());
    let (mut actions, mut granularity) = (Vec::new(), 0);
    let (mut source, mut source_format) = (None, None);
    call.each(bql, |name, value| {
        match name {
            "format" => format = Some(value.to_owned()),
            "image-opts" => with.image_opts = true,
            "add" => actions.push(Action::Add),
            "remove" => actions.push(Action::Remove),
            "clear" => actions.push(Action::Clear),
            "enable" => actions.push(Action::Enable),
            "disable" => actions.push(Action::Disable),
            "merge" => actions.push(Action::Merge(value.to_owned())),
            "granularity" => granularity = size("granularity", value)?,
            "source-file" => source = Some(value.to_owned()),
            "source-format" => source_format = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    if actions.is_empty() {
        return Err(fail(
            "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge",
        ));
    }
    if granularity != 0 && !actions.contains(&Action::Add) {
        return Err(fail("granularity only supported with --add"));
    }
    if source_format.is_some() && source.is_none() {
        return Err(fail("-F only supported with -b"));
    }
    let merges = actions
        .iter()
        .any(|action| matches!(action, Action::Merge(_)));
    if source.is_some() && !merges {
        return Err(fail("Merge bitmap source file only supported with --merge"));
    }
    let [filename, name] = call.arguments() else {
        return Err(fail("Expecting filename and bitmap name"));
    };
    with.format = format.as_deref();
    with.no_backing = true;
    let writable = OpenAs {
        writable: true,
        ..with
    };
    let image = Image::open(bql, filename, &writable)?;
    let source = source.map(|source| {
        let with = OpenAs {
            format: source_format.as_deref(),
            no_backing: true,
            ..OpenAs::default()
        };
        Image::open(bql, &source, &with)
    });
    let source = source.transpose()?;
    let from = source.as_ref().map_or(&image.node, |source| &source.node);
    let mut outcome = Ok(());
    for action in &actions {
        outcome = act(bql, action, &image.node, name, granularity, from).map_err(|error| {
            let before = format!("Operation {} on bitmap {name} failed: ", action.name());
            because(before, &error)
        });
        if outcome.is_err() {
            break;
        }
    }
    // Bitmaps are written when an image is given up, and that can fail.
    if let Err(errno) = give_up(bql, call) {
        if let Err(failed) = outcome {
            call.end(Err(failed));
        }
        let reason = strerror(errno);
        return Err(fail(format!("Error while closing the image: {reason}")));
    }
    outcome.map(|()| 0)
}

/// Gives the image up, and says what is lost if that fails.
fn give_up(bql: &mut BqlGuard, call: &Call<'_>) -> Result<(), i32> {
    inactivate_all(bql).map_err(|error| {
        if matches!(error, GraphError::Refused { .. }) {
            call.report(&error);
        }
        error.errno()
    })
}

fn act(
    bql: &mut BqlGuard,
    action: &Action,
    node: &Node,
    name: &str,
    granularity: u64,
    from: &Node,
) -> Result<(), BitmapError> {
    let find = |bql: &BqlGuard| DirtyBitmap::lookup(bql, node.name(), name);
    match action {
        Action::Add => {
            let options = BitmapOptions {
                // Larger ones are wrong too.
                granularity: (granularity != 0)
                    .then(|| u32::try_from(granularity).unwrap_or(u32::MAX)),
                persistent: true,
                disabled: false,
            };
            node.add_bitmap(bql, name, options).map(drop)
        }
        Action::Remove => find(bql)?.remove(bql),
        Action::Clear => find(bql)?.clear(bql).map(drop),
        Action::Enable => find(bql)?.enable(bql),
        Action::Disable => find(bql)?.disable(bql),
        Action::Merge(source) => {
            let bitmap = find(bql)?;
            let source = DirtyBitmap::lookup(bql, from.name(), source)?;
            bitmap.merge(bql, &[source]).map(drop)
        }
    }
}
