//! Accept A5: A bottom half, a destructor and a thread without a loop ask the main loop too.
//! QEMU: aio_bh_schedule_oneshot() to the main context, from anywhere.
//! Why: `MainLoop` is owned, so it goes wherever it is needed.

use block_gs::{BqlGuard, MainLoop, Node, nodes};
use block_io::aio::EventLoop;
use std::sync::mpsc;
use ui_tests::{in_main_loop, iothread, null};

struct Unplug(MainLoop, Node, mpsc::Sender<&'static str>);

impl Drop for Unplug {
    fn drop(&mut self) {
        let (node, told) = (self.1.clone(), self.2.clone());
        self.0.schedule(move |bql| {
            node.drain(bql).end();
            told.send("destructor").expect("a receiver");
        });
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (node, (told, heard)) = (null(bql, "node"), mpsc::channel());
        let (main, tell) = (bql.main_loop(), told.clone());
        iothread(bql, "io0").context().schedule(move |home| {
            let count = main.call(|bql| nodes(bql).count());
            assert_eq!(
                home.block_on(count)
                    .expect("an iothread")
                    .expect("a main loop"),
                1
            );
            tell.send("bottom half").expect("a receiver");
            main.kick();
        });
        let (main, tell) = (bql.main_loop(), told.clone());
        let third = std::thread::spawn(move || {
            let own = EventLoop::new("own").expect("a loop");
            own.block_on(main.call(|bql| nodes(bql).count()))
                .expect("a main loop");
            tell.send("thread").expect("a receiver");
            main.kick();
        });
        drop(Unplug(bql.main_loop(), node.clone(), told));
        let mut all = Vec::new();
        bql.poll_until(|_| {
            all.extend(heard.try_iter());
            all.len() == 3
        });
        Ok(third.join().expect("no panic"))
    });
}
