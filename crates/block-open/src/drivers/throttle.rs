//! `throttle`.

use block_common::{GraphError, Role};
use block_drivers::{Throttle, ThrottleGroup};
use block_gs::BqlGuard;

use super::{Child, Driver, Key, Reopen};

const GROUP: Key = Key::text("throttle-group", "the group whose limits it keeps to").required();

pub(super) static THROTTLE: Driver = Driver {
    name: "throttle",
    about: "a filter that keeps requests within the limits of a group",
    options: &[GROUP],
    children: &[Child {
        name: "file",
        role: Role::FILTERED.union(Role::PRIMARY),
        required: true,
        about: "whose requests are limited",
    }],
    protocol: None,
    is_format: false,
    probe: None,
    create: None,
    compresses: false,
    open: |opening| {
        let file = opening.child("file")?;
        let name = opening.text(&GROUP)?;
        let group = find_group(opening.bql(), name)?;
        let options = opening.general().node;
        let throttle = Throttle::over(&file).group(&group).options(options);
        opening.make(|bql, name| throttle.open(bql, name))
    },
    reopen: Reopen {
        resettable: &[],
        take: |reopening, options| {
            let name = reopening.text(&GROUP)?;
            let group = find_group(reopening.bql(), name)?;
            Ok(options.settings(group))
        },
        ..Reopen::NOTHING
    },
};

fn find_group(bql: &BqlGuard, name: Option<String>) -> Result<ThrottleGroup, GraphError> {
    let name = name.ok_or_else(|| GraphError::Refused {
        message: "Please specify a throttle group".to_owned(),
        errno: block_common::error::errno::EINVAL,
    })?;
    Ok(ThrottleGroup::find(bql, &name)?)
}
