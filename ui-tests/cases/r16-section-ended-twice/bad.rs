//! Rule R16: A drained section is not ended twice.
//! QEMU: mirror_exit_common() ends what mirror_run() may have ended; a flag tells which.
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
