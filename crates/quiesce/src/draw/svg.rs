//! The graph as a picture that any browser shows.

use std::fmt::Write as _;

use super::layout::{self, Layout, Point};
use super::{BackendShape, EdgeShape, NodeShape, Snapshot, length, letters};

const BOX_WIDTH: f64 = 172.0;
const BOX_HEIGHT: f64 = 58.0;
const PILL_WIDTH: f64 = 132.0;
const PILL_HEIGHT: f64 = 42.0;
const MARGIN: f64 = 40.0;
const HEADER: f64 = 92.0;
const LEGEND: f64 = 78.0;

/// The colours of one context.
#[derive(Clone, Copy, Debug)]
pub struct Colour {
    /// For lines and text.
    pub strong: &'static str,
    /// For areas.
    pub light: &'static str,
}

/// A colour for each context of a snapshot.
#[derive(Debug)]
pub struct Palette<'s> {
    contexts: Vec<&'s str>,
}

impl<'s> Palette<'s> {
    /// The main loop is grey; the others have a colour each, while there are
    /// enough.
    const COLOURS: [Colour; 7] = [
        Colour {
            strong: "#5b6472",
            light: "#eef0f3",
        },
        Colour {
            strong: "#1f6fd1",
            light: "#e4effc",
        },
        Colour {
            strong: "#c2570c",
            light: "#fdeee0",
        },
        Colour {
            strong: "#17855b",
            light: "#e1f5ec",
        },
        Colour {
            strong: "#8b3fc4",
            light: "#f3e8fb",
        },
        Colour {
            strong: "#b3245a",
            light: "#fce5ee",
        },
        Colour {
            strong: "#7a6a00",
            light: "#f8f3d6",
        },
    ];

    /// For the contexts of this snapshot. The first two iothreads keep their
    /// colours from picture to picture.
    pub fn of(snapshot: &'s Snapshot) -> Self {
        let mut contexts = vec!["main", "io0", "io1"];
        for context in snapshot.contexts() {
            if !contexts.contains(&context) {
                contexts.push(context);
            }
        }
        Palette { contexts }
    }

    /// The colour of a context.
    pub fn colour(&self, context: &str) -> Colour {
        let mut known = self.contexts.iter();
        let index = known.position(|name| *name == context).unwrap_or(0);
        match index {
            0 => Self::COLOURS[0],
            other => Self::COLOURS[1 + (other - 1) % (Self::COLOURS.len() - 1)],
        }
    }
}

/// The snapshot as an SVG file, with nothing outside it.
pub fn render(snapshot: &Snapshot, title: &str, subtitle: &str) -> String {
    let palette = Palette::of(snapshot);
    let layout = layout::place(snapshot);
    let width = (layout.right + BOX_WIDTH + 2.0 * MARGIN).max(720.0);
    let graph_height = layout.bottom + BOX_HEIGHT;
    let height = HEADER + graph_height + LEGEND + MARGIN;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">"
    );
    let _ = writeln!(svg, "<title>{}</title>", escape(title));
    svg.push_str(STYLE);
    let _ = writeln!(
        svg,
        "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>"
    );
    let _ = writeln!(
        svg,
        "<text class=\"h1\" x=\"{MARGIN}\" y=\"42\">{}</text>",
        escape(title)
    );
    let _ = writeln!(
        svg,
        "<text class=\"h2\" x=\"{MARGIN}\" y=\"64\">{}</text>",
        escape(subtitle)
    );
    // What is narrower than the paper stands in its middle.
    let left = (width - layout.right) / 2.0;
    let top = HEADER + BOX_HEIGHT / 2.0;
    let _ = writeln!(svg, "<g transform=\"translate({left:.1} {top:.1})\">");
    draw_edges(&mut svg, snapshot, &layout, &palette);
    for (backend, &at) in snapshot.backends.iter().zip(&layout.backends) {
        draw_backend(&mut svg, backend, at, palette.colour(&backend.context));
    }
    for (words, at) in &layout.others {
        draw_other(&mut svg, words, *at);
    }
    for (node, &at) in snapshot.nodes.iter().zip(&layout.nodes) {
        draw_node(&mut svg, node, at, palette.colour(&node.context));
    }
    svg.push_str("</g>\n");
    let below = Point {
        x: width - MARGIN,
        y: HEADER + graph_height + MARGIN,
    };
    draw_legend(&mut svg, snapshot, &palette, below);
    svg.push_str("</svg>\n");
    svg
}

const STYLE: &str = "\
<style>
text { font-family: Inter, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif; fill: #1d2430 }
.paper { fill: #ffffff }
.h1 { font-size: 21px; font-weight: 700 }
.h2 { font-size: 13px; fill: #5b6472 }
.name { font-size: 14px; font-weight: 600 }
.small { font-size: 11px; fill: #5b6472 }
.edge { fill: none; stroke-width: 1.6 }
.label { font-size: 11px; font-weight: 600 }
.perm { font-family: 'JetBrains Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; font-size: 10px; fill: #5b6472 }
.plate { fill: #ffffff; fill-opacity: 0.92 }
.shadow { fill: #1d2430; fill-opacity: 0.08 }
.card { stroke-width: 1.5 }
.quiesced { stroke-dasharray: 5 4 }
.rule { stroke: #d7dbe1; stroke-width: 1 }
</style>
";

fn draw_edges(svg: &mut String, snapshot: &Snapshot, layout: &Layout, palette: &Palette<'_>) {
    let mut labels = String::new();
    for (edge, route) in snapshot.edges.iter().zip(&layout.routes) {
        let colour = palette.colour(&snapshot.nodes[edge.below].context).strong;
        let points = docked(edge, route);
        let mut path = format!("M{:.1} {:.1}", points[0].x, points[0].y);
        for pair in points.windows(2) {
            let middle = (pair[0].y + pair[1].y) / 2.0;
            let _ = write!(
                path,
                " C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}",
                pair[0].x, pair[1].x, pair[1].x, pair[1].y
            );
        }
        let wide = if edge.frozen {
            " stroke-width=\"3\""
        } else {
            ""
        };
        let _ = writeln!(
            svg,
            "<path class=\"edge\" d=\"{path}\" stroke=\"{colour}\"{wide}/>"
        );
        let end = points[points.len() - 1];
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {y:.1} l-5 -9 l10 0 z\" fill=\"{colour}\"/>",
            x = end.x,
            y = end.y
        );
        draw_label(&mut labels, edge, &points);
    }
    // Above all lines, so that no line crosses a label.
    svg.push_str(&labels);
}

/// The route from the border of the upper box to the border of the lower one.
fn docked(edge: &EdgeShape, route: &[Point]) -> Vec<Point> {
    let mut points = route.to_vec();
    let above = match edge.above {
        super::Above::Node(_) => BOX_HEIGHT,
        _ => PILL_HEIGHT,
    };
    if let Some(first) = points.first_mut() {
        first.y += above / 2.0;
    }
    if let Some(last) = points.last_mut() {
        last.y -= BOX_HEIGHT / 2.0 + 1.0;
    }
    points
}

/// On the first piece, where the line has not gone far to the side yet:
/// parents stand apart, so labels do.
fn draw_label(svg: &mut String, edge: &EdgeShape, points: &[Point]) {
    let (from, to) = (points[0], points[1]);
    let x = from.x + (to.x - from.x) * 0.282;
    let y = from.y + (to.y - from.y) * 0.384 - 1.0;
    let name = match edge.frozen {
        true => format!("{} (frozen)", edge.name),
        false => edge.name.clone(),
    };
    let _ = writeln!(
        svg,
        "<rect class=\"plate\" x=\"{:.1}\" y=\"{:.1}\" width=\"78\" height=\"29\" rx=\"5\"/>",
        x - 39.0,
        y - 11.5
    );
    let _ = writeln!(
        svg,
        "<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
        escape(&name)
    );
    let _ = writeln!(
        svg,
        "<text class=\"perm\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} / {}</text>",
        y + 13.0,
        letters(edge.perm),
        letters(edge.shared)
    );
}

fn draw_backend(svg: &mut String, backend: &BackendShape, at: Point, colour: Colour) {
    draw_shadow(svg, at, (PILL_WIDTH, PILL_HEIGHT), PILL_HEIGHT / 2.0);
    let dashed = if backend.quiesce > 0 { " quiesced" } else { "" };
    let _ = writeln!(
        svg,
        "<rect class=\"card{dashed}\" x=\"{:.1}\" y=\"{:.1}\" \
         width=\"{PILL_WIDTH}\" height=\"{PILL_HEIGHT}\" rx=\"{:.1}\" fill=\"{}\" stroke=\"{}\"/>",
        at.x - PILL_WIDTH / 2.0,
        at.y - PILL_HEIGHT / 2.0,
        PILL_HEIGHT / 2.0,
        colour.light,
        colour.strong
    );
    let name = if backend.name.is_empty() {
        "(unnamed)"
    } else {
        &backend.name
    };
    centred(svg, "name", at.x, at.y - 1.0, name);
    centred(
        svg,
        "small",
        at.x,
        at.y + 13.0,
        &format!("backend, {}", backend.context),
    );
    draw_badge(
        svg,
        backend.quiesce,
        at.x + PILL_WIDTH / 2.0 - 8.0,
        at.y - PILL_HEIGHT / 2.0,
        colour,
    );
}

fn draw_node(svg: &mut String, node: &NodeShape, at: Point, colour: Colour) {
    let (x, y) = (at.x - BOX_WIDTH / 2.0, at.y - BOX_HEIGHT / 2.0);
    draw_shadow(svg, at, (BOX_WIDTH, BOX_HEIGHT), 7.0);
    let dashed = if node.quiesce > 0 { " quiesced" } else { "" };
    let _ = writeln!(
        svg,
        "<rect class=\"card{dashed}\" x=\"{x:.1}\" y=\"{y:.1}\" \
         width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"7\" fill=\"#ffffff\" stroke=\"{}\"/>",
        colour.strong
    );
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {y:.1} h-3 a7 7 0 0 0 -7 7 v{:.1} a7 7 0 0 0 7 7 h3 z\" fill=\"{}\"/>",
        x + 10.0,
        BOX_HEIGHT - 14.0,
        colour.strong
    );
    let access = if node.writable { "rw" } else { "ro" };
    let _ = writeln!(
        svg,
        "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        x + 20.0,
        y + 25.0,
        escape(&shortened(&node.name, 18))
    );
    let details = format!(
        "{} · {} · {access} · {}",
        node.driver,
        length(node.length),
        node.context
    );
    let _ = writeln!(
        svg,
        "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        x + 20.0,
        y + 44.0,
        escape(&shortened(&details, 28))
    );
    draw_badge(svg, node.quiesce, x + BOX_WIDTH - 10.0, y, colour);
}

/// A shape and no filter: not every viewer has those.
fn draw_shadow(svg: &mut String, at: Point, (width, height): (f64, f64), radius: f64) {
    let _ = writeln!(
        svg,
        "<rect class=\"shadow\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width}\" height=\"{height}\" \
         rx=\"{radius}\"/>",
        at.x - width / 2.0 + 1.5,
        at.y - height / 2.0 + 3.0
    );
}

fn draw_other(svg: &mut String, words: &str, at: Point) {
    let _ = writeln!(
        svg,
        "<rect class=\"card\" x=\"{:.1}\" y=\"{:.1}\" width=\"{BOX_WIDTH}\" \
         height=\"{PILL_HEIGHT}\" fill=\"#f7f7f9\" stroke=\"#1d2430\"/>",
        at.x - BOX_WIDTH / 2.0,
        at.y - PILL_HEIGHT / 2.0
    );
    centred(svg, "small", at.x, at.y + 4.0, &shortened(words, 28));
}

/// A pause sign with the number of sections.
fn draw_badge(svg: &mut String, quiesce: u32, x: f64, y: f64, colour: Colour) {
    if quiesce == 0 {
        return;
    }
    let (left, top) = (x - 17.0, y - 10.0);
    let _ = writeln!(
        svg,
        "<g><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"34\" height=\"20\" rx=\"10\" \
         fill=\"{}\"/><path d=\"M{:.1} {:.1} v9 m4.5 -9 v9\" stroke=\"#ffffff\" \
         stroke-width=\"2.4\"/><text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" \
         font-weight=\"700\" style=\"fill:#ffffff\">{quiesce}</text></g>",
        colour.strong,
        left + 9.5,
        top + 5.5,
        left + 19.5,
        top + 14.0
    );
}

fn draw_legend(svg: &mut String, snapshot: &Snapshot, palette: &Palette<'_>, below: Point) {
    let Point { x: right, y } = below;
    let _ = writeln!(
        svg,
        "<line class=\"rule\" x1=\"{MARGIN}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/>"
    );
    let mut x = MARGIN;
    for context in snapshot.contexts() {
        let colour = palette.colour(context);
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"6\" fill=\"{}\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 6.0,
            y + 24.0,
            colour.strong,
            x + 18.0,
            y + 28.0,
            escape(context)
        );
        x += 42.0 + 6.6 * context.chars().count() as f64;
    }
    let _ = writeln!(
        svg,
        "<rect class=\"card quiesced\" x=\"{x:.1}\" y=\"{:.1}\" width=\"26\" height=\"14\" rx=\"4\" \
         fill=\"none\" stroke=\"#5b6472\"/><text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">quiesced, \
         and by how many sections</text>",
        y + 17.0,
        x + 34.0,
        y + 28.0
    );
    let _ = writeln!(
        svg,
        "<text class=\"small\" x=\"{MARGIN}\" y=\"{:.1}\">Edges: what the parent does / what it \
         lets others do. R consistent read, W write, U write unchanged, Z resize.</text>",
        y + 52.0
    );
}

fn centred(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
        escape(text)
    );
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most - 1).collect();
    short.push('…');
    short
}

/// Text as XML wants it. Control characters are not allowed there at all.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::example;
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(
            escape("<a href=\"x\">&'\u{1}"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39; "
        );
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("äbcd", 4), "äbcd");
    }

    #[test]
    fn the_picture_has_every_name_and_balanced_tags() {
        let mut snapshot = example();
        snapshot.nodes[0].name = "a<b".into();
        let svg = render(&snapshot, "before", "the beginning");
        for text in [
            "left-raw",
            "right-raw",
            "a&lt;b",
            "left",
            "-W-- / RWUZ",
            "before",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        // Two things are quiesced, and the legend says what that looks like.
        assert_eq!(svg.matches("card quiesced").count(), 3);
        for tag in ["text", "g", "svg", "style", "title"] {
            let opened =
                svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count();
            assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn contexts_have_colours_even_when_there_are_many() {
        let mut snapshot = example();
        for number in 0..20 {
            let mut node = snapshot.nodes[0].clone();
            node.context = format!("worker-{number}");
            snapshot.nodes.push(node);
        }
        let palette = Palette::of(&snapshot);
        assert_eq!(palette.colour("main").strong, Palette::COLOURS[0].strong);
        assert_ne!(
            palette.colour("worker-19").strong,
            palette.colour("main").strong
        );
        assert_ne!(palette.colour("io0").strong, palette.colour("io1").strong);
    }
}
