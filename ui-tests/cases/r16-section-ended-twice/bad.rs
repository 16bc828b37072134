//! Rule R16: A drained section is not ended twice.
//! QEMU: 10.0.2, mirror_run() begins a section that mirror_exit_common() ends.
//! Shape: order.
//! Why: Ending it uses the value up.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let target = null(bql, "target");
        let section = target.drain(bql);
        assert_eq!(target.view(&section).quiesce_count(), 1);
        section.end();
        section.end();
        //~^ E0382 "use of moved value: `section`"
        assert_eq!(target.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
