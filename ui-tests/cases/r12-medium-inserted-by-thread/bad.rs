//! Rule R12: A thread with a loop of its own does not insert a medium.
//! QEMU: None recorded. blk_insert_bs() asks for permissions, and a macro looks at the thread.
//! Shape: thread.
//! Why: Inserting asks for permissions, so it takes the proof of the main thread.

use block_gs::{Backend, BqlGuard, Perm};
use block_io::aio::EventLoop;
use std::thread;
use ui_tests::{in_main_loop, null};

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, main) = (null(bql, "node"), bql.main_loop());
        let cdrom = Backend::new(bql, "cdrom", Perm::CONSISTENT_READ, Perm::all())?;
        let (disk, medium) = (cdrom.clone(), node.clone());
        let third = thread::spawn(move || {
            let mut own = EventLoop::new("own").expect("a loop");
            disk.insert(&mut own, &medium).expect("a medium");
            //~^ E0308 "expected `&mut BqlGuard`, found `&mut EventLoop`"
            main.kick();
        });
        third.join().expect("no panic");
        bql.poll_until(|bql| cdrom.node(bql).as_ref() == Some(&node));
        Ok(())
    });
}
