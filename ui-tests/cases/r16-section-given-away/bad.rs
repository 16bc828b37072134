//! Rule R16: A section that was handed to another function is not ended by this one.
//! QEMU: 10.0.2, mirror_run() begins a section that mirror_exit_common() ends.
//! Shape: argument.
//! Why: The function takes the section by value, and ends it.

use block_gs::{BqlGuard, Drained};
use ui_tests::{in_main_loop, null};

fn mirror_exit_common(section: Drained<'_>) {
    section.end();
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let target = null(bql, "target");
        let section = target.drain(bql);
        mirror_exit_common(section);
        section.end();
        //~^ E0382 "use of moved value: `section`"
        assert_eq!(target.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
