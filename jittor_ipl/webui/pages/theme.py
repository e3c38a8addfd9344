"""How the page looks: paper and ultramarine by day, ink and pale blue by night; system fonts, nothing from outside."""
from __future__ import annotations

import gradio as gr
from gradio.themes.utils import colors, sizes

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "PingFang SC", "Microsoft YaHei",
          "Noto Sans CJK SC", "sans-serif")
_BLUE = colors.Color(name="ultramarine", c50="#eef1fd", c100="#dfe4fb", c200="#c3cdf8", c300="#a3b2f5", c400="#7d8ff0",
                     c500="#4f65e0", c600="#3448c5", c700="#2a3a9f", c800="#232f7d", c900="#1d275f", c950="#12183d")
_PAPER = colors.Color(name="paper", c50="#fbfaf7", c100="#f4f2ec", c200="#e6e2d8", c300="#d0cabd", c400="#9b9588",
                      c500="#6b665c", c600="#524e46", c700="#3b3832", c800="#272521", c900="#1c1a17", c950="#131210")


def theme() -> gr.themes.Base:
    """Return the theme of all pages; its text colours reach 4.5 : 1 on their grounds, by day and by night."""
    base = gr.themes.Base(primary_hue=_BLUE, secondary_hue=_BLUE, neutral_hue=_PAPER, radius_size=sizes.radius_md,
                          text_size=sizes.text_md, font=_FONTS, font_mono=("ui-monospace", "monospace"))
    return base.set(
        body_background_fill="*neutral_50", body_background_fill_dark="*neutral_950",
        block_background_fill="white", block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200", block_border_color_dark="*neutral_700",
        border_color_primary="*neutral_300", border_color_primary_dark="*neutral_600",
        body_text_color="*neutral_900", body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_500", block_info_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_800", block_title_text_color_dark="*neutral_100",
        block_title_text_weight="600",
        block_label_text_color="*neutral_600", block_label_text_color_dark="*neutral_200",
        input_border_width="1px", input_border_color="*neutral_300", input_border_color_dark="*neutral_600",
        input_background_fill="white", input_background_fill_dark="*neutral_800",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_300",
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_300", button_primary_background_fill_hover_dark="*primary_200",
        button_primary_text_color="white", button_primary_text_color_dark="*neutral_950",
        button_secondary_background_fill="*neutral_100", button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_700",
        button_secondary_background_fill_hover_dark="*neutral_600",
        button_secondary_text_color="*neutral_900", button_secondary_text_color_dark="*neutral_50",
        checkbox_label_text_color="*neutral_900", checkbox_label_text_color_dark="*neutral_100",
        checkbox_background_color_selected="*primary_600", checkbox_background_color_selected_dark="*primary_500",
        slider_color="*primary_600", slider_color_dark="*primary_300",
        link_text_color="*primary_700", link_text_color_dark="*primary_300")
