//! Rule R9: An IO_OR_GS function asks for a proof like any other.
//! QEMU: V031-V038, the drain family polls and was declared I/O; IO_OR_GS_CODE() checks
//! nothing.
//! Shape: argument.
//! Why: The proof is a parameter; which of the two it is, is the caller's choice.

use block_gs::BqlGuard;
use std::sync::mpsc;
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, io0) = (null(bql, "node"), iothread(bql, "io0"));
        let disk = disk(bql, "disk", &node);
        assert_eq!(disk.length_blocking()?, SIZE);
        //~^ E0061 "at: &mut impl MainOrHome"
        disk.set_iothread(bql, Some(&io0))?;
        let ((report, length), main) = (mpsc::channel(), bql.main_loop());
        io0.context().schedule(move |home| {
            report
                .send(disk.length_blocking(home).expect("its home"))
                .expect("a receiver");
            main.kick();
        });
        bql.poll_until(|_| length.try_recv() == Ok(SIZE));
        Ok(())
    });
}
