//! Rule R16: A clean-up that ends a section does not run twice.
//! QEMU: 10.0.2, mirror_run() begins a section that mirror_exit_common() ends.
//! Shape: closure.
//! Why: A closure that takes the section can be called once.

use block_gs::BqlGuard;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let target = null(bql, "target");
        let section = target.drain(bql);
        let clean_up = || section.end();
        clean_up();
        clean_up();
        //~^ E0382 "it moves the variable `section` out of its environment"
        assert_eq!(target.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
