"""What a run finds: duplicates, wrong labels, outliers, and photos that are too dark, too bright or blurred."""

from enum import StrEnum


class Kind(StrEnum):
    """The kinds of findings, in the order in which people see them."""

    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near duplicate"
    LEAK = "leak"
    WRONG_LABEL = "wrong label"
    OUTLIER = "outlier"
    DARK = "dark"
    BRIGHT = "bright"
    BLURRED = "blurred"
    EMPTY = "empty"


MEANINGS = {
    Kind.DUPLICATE: "The same file or the same pixels, more than once.",
    Kind.NEAR_DUPLICATE: "The same photo in another size, quality, brightness or frame, or in a mirror.",
    Kind.LEAK: "The same photo in two folders such as Training and Test, which makes accuracies worthless.",
    Kind.WRONG_LABEL: "The nearest photos agree on another label.",
    Kind.OUTLIER: "Unlike every other photo of its label, and of the run.",
    Kind.DARK: "Even the brightest parts are dark.",
    Kind.BRIGHT: "Even the darkest parts are bright.",
    Kind.BLURRED: "No edge is sharp.",
    Kind.EMPTY: "Almost one colour.",
}
