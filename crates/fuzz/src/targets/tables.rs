//! Wrong entries in the tables of a valid image.

use crate::image::exercise;
use crate::plan::Plan;
use crate::skeleton::skeleton;

pub(super) fn run(input: &[u8]) {
    let mut plan = Plan::new(input);
    let skeleton = skeleton(plan.byte());
    let bytes = skeleton.spoil(&mut plan, 12);
    exercise(&bytes, plan);
}
