//! The graph in Graphviz's language.

use std::fmt::Write as _;

use super::svg::Palette;
use super::{Above, Snapshot, length, letters};

/// The snapshot as a DOT file.
pub fn render(snapshot: &Snapshot, title: &str) -> String {
    let palette = Palette::of(snapshot);
    let mut dot = String::new();
    let _ = writeln!(dot, "digraph block {{");
    let _ = writeln!(
        dot,
        "  label={}; labelloc=t; fontname=Helvetica;",
        quote(title)
    );
    let _ = writeln!(
        dot,
        "  node [fontname=Helvetica, style=filled, penwidth=1.5];"
    );
    let _ = writeln!(dot, "  edge [fontname=Helvetica, fontsize=10];");
    for (place, backend) in snapshot.backends.iter().enumerate() {
        let label = format!("{}\n{}", backend.name, backend.context);
        let _ = writeln!(
            dot,
            "  b{place} [shape=ellipse, label={}, fillcolor={}{}];",
            quote(&label),
            quote(palette.colour(&backend.context).light),
            quiesced(backend.quiesce)
        );
    }
    for (place, node) in snapshot.nodes.iter().enumerate() {
        let access = if node.writable {
            "read-write"
        } else {
            "read-only"
        };
        let label = format!(
            "{}\n{}, {}, {access}\n{}",
            node.name,
            node.driver,
            length(node.length),
            node.context
        );
        let _ = writeln!(
            dot,
            "  n{place} [shape=box, label={}, fillcolor={}{}];",
            quote(&label),
            quote(palette.colour(&node.context).light),
            quiesced(node.quiesce)
        );
    }
    for (place, edge) in snapshot.edges.iter().enumerate() {
        let above = match &edge.above {
            Above::Backend(above) => format!("b{above}"),
            Above::Node(above) => format!("n{above}"),
            Above::Other(words) => {
                let _ = writeln!(dot, "  o{place} [shape=hexagon, label={}];", quote(words));
                format!("o{place}")
            }
        };
        let label = format!(
            "{}\n{} / {}",
            edge.name,
            letters(edge.perm),
            letters(edge.shared)
        );
        let style = if edge.frozen {
            ", style=bold, color=blue"
        } else {
            ""
        };
        let _ = writeln!(
            dot,
            "  {above} -> n{} [label={}{style}];",
            edge.below,
            quote(&label)
        );
    }
    dot.push_str("}\n");
    dot
}

fn quiesced(count: u32) -> &'static str {
    if count > 0 {
        ", style=\"filled,dashed\", xlabel=\"quiesced\""
    } else {
        ""
    }
}

/// A DOT string: quotes and backslashes are escaped, a line end becomes the
/// escape that Graphviz breaks lines at, other control characters go.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            other if other.is_control() => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::example;
    use super::*;

    #[test]
    fn strings_cannot_end_early() {
        assert_eq!(quote("a\"b\\c\nd\te"), r#""a\"b\\c\nd e""#);
    }

    #[test]
    fn every_vertex_and_edge_is_there() {
        let dot = render(&example(), "an \"example\"");
        assert!(dot.contains(r#"label="an \"example\"""#), "{dot}");
        assert!(
            dot.contains("b0 -> n1 [label=\"root\\n-W-- / RWUZ\"]"),
            "{dot}"
        );
        assert_eq!(dot.matches(" -> ").count(), 4);
        assert_eq!(dot.matches("xlabel=\"quiesced\"").count(), 2, "{dot}");
        let other = Snapshot {
            edges: vec![super::super::EdgeShape {
                above: Above::Other("stream job 's0'".into()),
                ..example().edges[0].clone()
            }],
            ..example()
        };
        assert!(render(&other, "").contains("o0 [shape=hexagon, label=\"stream job 's0'\"]"));
    }
}
