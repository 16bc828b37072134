//! `copy-on-read`.

use block_common::Role;
use block_drivers::CopyOnRead;

use super::{Child, Driver, Reopen};

pub(super) static COPY_ON_READ: Driver = Driver {
    name: "copy-on-read",
    about: "a filter that lets an image keep what is read through it",
    options: &[],
    children: &[Child {
        name: "file",
        role: Role::FILTERED.union(Role::PRIMARY),
        required: true,
        about: "the image that keeps it",
    }],
    protocol: None,
    is_format: false,
    probe: None,
    create: None,
    compresses: false,
    open: |opening| {
        let filter = CopyOnRead::over(&opening.child("file")?).options(opening.general().node);
        opening.make(|bql, name| filter.open(bql, name))
    },
    reopen: Reopen::NOTHING,
};
