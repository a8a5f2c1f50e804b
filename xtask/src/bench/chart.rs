//! A chart of bars on logarithmic axes, as SVG.

use std::fmt::Write;

/// Bars that share an axis.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

#[derive(Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: u64,
    /// Another value, shown as a line across.
    pub(super) mark: Option<u64>,
    /// What is written beside the bar.
    pub(super) text: String,
    /// Ours stand out.
    pub(super) ours: bool,
}

const WIDTH: f64 = 875.0;
/// Where labels end and bars begin.
const LEFT: f64 = 185.0;
/// What is left free for the text beside the longest bar.
const RIGHT: f64 = 150.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 34.0;
const FOOT: f64 = 34.0;

const STYLE: &str = "\
text{font:13px sans-serif;fill:#222}.title{font-weight:bold;font-size:15px}.tick{fill:#666;\
font-size:11px}.ours{fill:#1f77b4}.other{fill:#aaa}.grid{stroke:#ddd}.mark{stroke:#222;\
stroke-width:2}";

/// The whole chart, panel below panel.
pub(super) fn svg(panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(Panel::height).sum();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut top = 0.0;
    for panel in panels {
        panel.draw(&mut svg, top);
        top += panel.height();
    }
    svg + "</svg>\n"
}

/// An axis from one power of ten to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    from: u32,
    to: u32,
}

impl Axis {
    /// The powers of ten around all values: the lower one at most half of the least, so that every
    /// bar has a length.
    fn around(values: impl Iterator<Item = u64> + Clone) -> Self {
        let least = values.clone().min().unwrap_or(1).max(1);
        let most = values.max().unwrap_or(1).max(1);
        let from = (least / 2).max(1).ilog10();
        Self { from, to: most.ilog10() + 1 }
    }

    /// Where a value stands between the ends of the axis.
    fn x(self, value: u64) -> f64 {
        let share = (log10(value.max(1)) - f64::from(self.from)) / f64::from(self.to - self.from);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn ticks(self) -> impl Iterator<Item = u64> {
        (self.from..=self.to).map(|power| 10_u64.pow(power))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a chart shows fewer digits than a float has")]
fn log10(value: u64) -> f64 {
    (value as f64).log10()
}

impl Panel {
    fn height(&self) -> f64 {
        self.bars.iter().fold(HEAD + FOOT, |height, _| height + ROW)
    }

    fn axis(&self) -> Axis {
        Axis::around(self.bars.iter().flat_map(|bar| [bar.value].into_iter().chain(bar.mark)))
    }

    fn draw(&self, svg: &mut String, top: f64) {
        let (axis, foot) = (self.axis(), top + self.height() - FOOT);
        let title = escaped(&self.title);
        let _ = writeln!(svg, "<text class=\"title\" x=\"10\" y=\"{}\">{title}</text>", top + 22.0);
        for tick in axis.ticks() {
            let (x, from, below) = (axis.x(tick), top + HEAD, foot + 14.0);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{from}\" x2=\"{x:.1}\" y2=\"{foot}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{tick}</text>"
            );
        }
        let mut y = top + HEAD;
        for bar in &self.bars {
            bar.draw(svg, axis, y);
            y += ROW;
        }
    }
}

impl Bar {
    fn draw(&self, svg: &mut String, axis: Axis, y: f64) {
        let (end, class) = (axis.x(self.value), if self.ours { "ours" } else { "other" });
        let (width, top, line, bottom) = (end - LEFT, y + 3.0, y + 15.5, y + ROW - 3.0);
        let (label, text) = (escaped(&self.label), escaped(&self.text));
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{line}\" text-anchor=\"end\">{label}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\"/>",
            LEFT - 8.0,
            bottom - top,
        );
        let mark = self.mark.map_or(end, |mark| axis.x(mark));
        if self.mark.is_some() {
            let _ = writeln!(
                svg,
                "<line class=\"mark\" x1=\"{mark:.1}\" y1=\"{top}\" x2=\"{mark:.1}\" y2=\"{bottom}\"/>"
            );
        }
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{line}\">{text}</text>", mark.max(end) + 7.0);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: u64) -> Bar {
        Bar { label: label.into(), value, mark: Some(value * 2), text: "t".into(), ours: false }
    }

    #[test]
    fn an_axis_goes_from_power_to_power() {
        let axis = |values: &[u64]| Axis::around(values.iter().copied());
        assert_eq!(axis(&[90, 4000]), Axis { from: 1, to: 4 });
        assert_eq!(axis(&[100, 999]), Axis { from: 1, to: 3 });
        assert_eq!(axis(&[199, 999]), Axis { from: 1, to: 3 });
        assert_eq!(axis(&[200, 999]), Axis { from: 2, to: 3 });
        assert_eq!(axis(&[1000]), Axis { from: 2, to: 4 });
        assert_eq!(axis(&[0]), Axis { from: 0, to: 1 });
        assert_eq!(axis(&[]), Axis { from: 0, to: 1 });
    }

    #[test]
    fn equal_ratios_are_equal_lengths() {
        let axis = Axis { from: 1, to: 4 };
        let third = (WIDTH - LEFT - RIGHT) / 3.0;
        let at = [10, 100, 1000, 10_000].map(|value| axis.x(value));
        for (index, pair) in at.windows(2).enumerate() {
            assert!((pair[1] - pair[0] - third).abs() < 1e-9, "{index}");
        }
        assert!((axis.x(0) - LEFT).abs() < 1e-9, "what is below the axis has no length");
    }

    #[test]
    fn every_bar_is_there_and_text_is_escaped() {
        let bars = vec![bar("a<b&c", 120), bar("d", 3000)];
        let svg = svg(&[
            Panel { title: "one".into(), bars },
            Panel { title: "two".into(), bars: vec![] },
        ]);
        assert_eq!(svg.matches("<rect class=\"other\"").count(), 2);
        assert_eq!(svg.matches("class=\"mark\"").count(), 2);
        assert!(svg.contains("a&lt;b&amp;c") && !svg.contains("a<b"));
        assert!(svg.contains(">one<") && svg.contains(">two<"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
