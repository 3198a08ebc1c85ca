"""What does a run look like: delay and accuracy against their constraints, and where plans changed?"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from planning.run import Frame, Trace, Track

WIDTH, HEIGHT, LEFT, TOP, GAP = 900, 190, 60, 34, 44
COLOURS: Final = ("#1f77b4", "#d9822b", "#888888")
MOST_POINTS: Final = 1200


def draw(traces: Sequence[tuple[str, Trace]], track: Track, seconds: float, drop: tuple[float, float], title: str) -> str:
    """An SVG of two diagrams; `drop` is the time of the link drop. The first trace's plan changes are marked."""
    top = 2 * track.limit
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 20} {2 * HEIGHT + TOP + 2 * GAP}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    parts += _diagram(TOP, "delay, s", limit=track.limit, top=top, seconds=seconds, drop=drop)
    parts += _diagram(
        TOP + HEIGHT + GAP, "accuracy", limit=track.constraint.accuracy or 0.0, top=1.0, seconds=seconds, drop=drop
    )
    for (name, trace), colour in reversed(list(zip(traces, COLOURS, strict=False))):
        frames = trace.frames[:: max(1, len(trace.frames) // MOST_POINTS)]
        delays = [min(frame.figure, top) for frame in frames]
        parts.append(_line(frames, delays, TOP, top=top, seconds=seconds, colour=colour))
        held = [frame.accuracy for frame in frames]
        parts.append(_line(frames, held, TOP + HEIGHT + GAP, top=1.0, seconds=seconds, colour=colour))
        at = [each for each, _ in traces].index(name)
        parts.append(f'<text x="{LEFT + 420 + 150 * at}" y="18" fill="{colour}">{escape(name)}</text>')
    for when, plan in traces[0][1].switches:
        x = LEFT + when / seconds * WIDTH
        words = f"{plan.video_conf.resolution} {plan.video_conf.fps} fps, " + ", ".join(
            f"{stage}@{place.node}" for stage, place in plan.flow_mapping.items()
        )
        parts.append(
            f'<path d="M{x:.1f} {TOP}v{HEIGHT}" stroke="{COLOURS[0]}" stroke-dasharray="2 4" opacity=".7">'
            f"<title>{escape(words)}</title></path>"
        )
    parts.append(
        f'<text x="{LEFT}" y="{2 * HEIGHT + TOP + 2 * GAP - 8}">seconds; grey: the link is slow; dashed: a new plan</text>'
    )
    return "\n".join([*parts, "</svg>\n"])


def _diagram(y: float, name: str, *, limit: float, top: float, seconds: float, drop: tuple[float, float]) -> list[str]:
    from_x, to_x = (LEFT + when / seconds * WIDTH for when in drop)
    at = y + HEIGHT * (1 - limit / top)
    parts = [
        f'<rect x="{from_x:.1f}" y="{y}" width="{to_x - from_x:.1f}" height="{HEIGHT}" fill="#eeeeee"/>',
        f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999999"/>',
        f'<path d="M{LEFT} {at:.1f}h{WIDTH}" stroke="#c02020"/>',
        f'<text x="4" y="{y + 12}">{name}</text>',
        f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#c02020">{limit:g}</text>',
        f'<text x="{LEFT - 8}" y="{y + HEIGHT}" text-anchor="end">0</text>',
    ]
    step = 2 if seconds <= 30 else 10 if seconds <= 120 else 30
    parts += [
        f'<text x="{LEFT + when / seconds * WIDTH:.1f}" y="{y + HEIGHT + 14}" text-anchor="middle">{when}</text>'
        for when in range(0, int(seconds) + 1, step)
    ]
    return parts


def _line(frames: Sequence[Frame], values: Sequence[float], y: float, *, top: float, seconds: float, colour: str) -> str:
    points = " ".join(
        f"{LEFT + frame.at / seconds * WIDTH:.1f},{y + HEIGHT * (1 - value / top):.1f}"
        for frame, value in zip(frames, values, strict=True)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.1"/>'
