//! Moving a home from one event loop to another.

use super::Faults;

/// The order of the steps of a move, inside a section that has found
/// everything idle: `publish` where wake-ups go from now on, then let the
/// loops that were left `turn` once. Only then may the section end.
///
/// A task that was in the middle of its turn there, between two requests,
/// would otherwise begin its next one there afterwards. While the section
/// lasts it parks instead, and where it is woken is published already.
pub fn move_home<F: Faults, C: ?Sized>(
    context: &mut C,
    publish: impl FnOnce(&mut C),
    turn: impl FnOnce(&mut C),
) {
    if F::TURN_BEFORE_THE_MOVE {
        turn(context);
        publish(context);
        return;
    }
    publish(context);
    if !F::MOVE_WITHOUT_A_TURN {
        turn(context);
    }
}
