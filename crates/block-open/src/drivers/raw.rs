//! `raw`.

use block_common::Role;
use block_drivers::{Raw, RawSettings};

use super::{Child, Driver, Key, Reopen};
use crate::create::{Create, CreateKind, CreateOption, How};
use crate::probe;

const OFFSET: Key = Key::size("offset", "where in the file the image begins (0)");
const SIZE: Key = Key::size(
    "size",
    "the size of the image, a multiple of 512 (what is left of the file)",
);

pub(super) static RAW: Driver = Driver {
    name: "raw",
    about: "an image without a format: the bytes of a file, or a window of them",
    options: &[OFFSET, SIZE],
    children: &[Child {
        name: "file",
        role: Role::FILTERED.union(Role::PRIMARY),
        required: true,
        about: "where the bytes are",
    }],
    protocol: None,
    is_format: true,
    probe: None,
    create: Some(Create {
        options: &[CreateOption::new(
            "size",
            CreateKind::Size,
            "Virtual disk size",
        )],
        typed: &[],
        amend: &[],
        amend_only: &[],
        renamed: &[],
        convert: |_| Ok(()),
        how: How::AsItsFile,
    }),
    compresses: false,
    open: |opening| {
        let mut raw = Raw::over(&opening.child("file")?)
            .offset(opening.size(&OFFSET)?.unwrap_or(0))
            .size(opening.size(&SIZE)?)
            .options(opening.general().node);
        if opening.probed() {
            raw = raw.guarded(probe::is_raw);
        }
        opening.make(|bql, name| raw.open(bql, name))
    },
    reopen: Reopen {
        resettable: &[OFFSET.name, SIZE.name],
        take: |reopening, options| {
            let settings = RawSettings {
                offset: reopening.size(&OFFSET)?.unwrap_or(0),
                size: reopening.size(&SIZE)?,
            };
            Ok(options.settings(settings))
        },
        ..Reopen::NOTHING
    },
};
