//! Accept A4: A section is passed on by value, kept in a struct, and ends early with `?`.
//! QEMU: mirror_run() begins a section that mirror_exit_common() ends.
//! Why: It is a value that borrows the guard; what holds it borrows too.

use block_gs::{BqlGuard, Drained, GraphError, Node};
use ui_tests::{in_main_loop, null, overlay};

struct Exit<'a> {
    section: Option<Drained<'a>>,
}

fn begin<'a>(bql: &'a mut BqlGuard, node: &Node) -> Exit<'a> {
    Exit {
        section: Some(node.drain(bql)),
    }
}

impl Exit<'_> {
    fn common(mut self, new: &Node) -> Result<(), GraphError> {
        let mut section = self.section.take().expect("begun");
        section.replace_child("none", new)?;
        unreachable!("there is no such child");
    }
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let (base, new) = (null(bql, "base"), null(bql, "new"));
        let top = overlay(bql, "top", &base);
        assert!(begin(bql, &top).common(&new).is_err());
        assert_eq!(top.view(bql).quiesce_count(), 0);
        Ok(())
    });
}
