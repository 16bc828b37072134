//! Twin of bad.rs: the main loop gives them back.

use block_gs::{Backend, BqlGuard, MainLoop, Perm};
use ui_tests::{disk, in_main_loop, null};

struct Resizing {
    export: Backend,
    main: MainLoop,
}

impl Drop for Resizing {
    fn drop(&mut self) {
        let export = self.export.clone();
        let give_back = move |bql: &mut BqlGuard| export.set_perm(bql, Perm::WRITE, Perm::all());
        self.main
            .schedule(move |bql| assert!(give_back(bql).is_ok()));
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let (export, main) = (disk(bql, "export", &node), bql.main_loop());
        export.set_perm(bql, Perm::WRITE | Perm::RESIZE, Perm::all())?;
        drop(Resizing {
            export: export.clone(),
            main,
        });
        bql.poll_until(|bql| export.perms(bql).perm == Perm::WRITE);
        Ok(())
    });
}
