//! `throttle`.

use block_common::{GraphError, Role};
use block_drivers::{Throttle, ThrottleGroup};

use super::{Child, Driver, Key};

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
        let Some(name) = opening.text(&GROUP)? else {
            return Err(GraphError::Refused {
                message: "Please specify a throttle group".to_owned(),
                errno: block_common::error::errno::EINVAL,
            }
            .into());
        };
        let group = ThrottleGroup::find(opening.bql(), &name).map_err(GraphError::from)?;
        let options = opening.general().node;
        let throttle = Throttle::over(&file).group(&group).options(options);
        opening.make(|bql, name| throttle.open(bql, name))
    },
};
