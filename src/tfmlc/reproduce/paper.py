"""The results that the paper reports (ICIP 2023, Tables 1 to 3)."""

from __future__ import annotations

from tfmlc.errors import unknown_name

Values = dict[str, float]
LOSSES = ("control", "fmlc", "tfmlc")
SETS = ("GoPro", "RealBlur-J", "RealBlur-R")
COLUMNS = ("psnr", "ssim", "brisque", "pi", "lpips", "pieapp")
BLOCKS = (1, 3, 5, 7, 9, 11)
BACKBONES = ("clip-rn50", "clip-rn101", "clip-vit-b32", "clip-vit-b16", "clip-vit-l14")

_TABLE1 = {  # for each network and column: one row per set, one value per loss
    "mprnet-lite": {
        "psnr": ((31.8819, 31.8394, 31.6548), (26.4852, 26.4867, 26.3997), (33.9438, 33.9036, 33.7888)),
        "ssim": ((0.9600, 0.9599, 0.9593), (0.8484, 0.8488, 0.8469), (0.8083, 0.8075, 0.8061)),
        "brisque": ((52.4175, 51.0537, 46.3271), (48.2004, 47.6759, 44.5331), (65.7721, 65.5988, 63.3873)),
        "pi": ((5.2686, 4.9309, 4.2440), (5.0767, 4.8106, 4.2586), (7.2524, 7.0697, 6.7775)),
        "lpips": ((0.1013, 0.0844, 0.0640), (0.1612, 0.1509, 0.1387), (0.0778, 0.0714, 0.0668)),
        "pieapp": ((0.7435, 0.6963, 0.6222), (1.1182, 1.0923, 1.0602), (0.6880, 0.6626, 0.6285)),
    },
    "hinet": {
        "psnr": ((32.7712, 32.6660, 32.4385), (26.3620, 26.3376, 26.2858), (33.8045, 33.7690, 33.7079)),
        "ssim": ((0.9593, 0.9581, 0.9553), (0.8539, 0.8519, 0.8491), (0.9467, 0.9460, 0.9441)),
        "brisque": ((52.0361, 47.7858, 42.7883), (44.6924, 44.0819, 41.8833), (66.1007, 64.7499, 57.1558)),
        "pi": ((5.1837, 4.5979, 4.1837), (5.0242, 4.7747, 4.5482), (7.2053, 7.0199, 6.6362)),
        "lpips": ((0.0904, 0.0649, 0.0554), (0.1730, 0.1685, 0.1653), (0.0775, 0.0727, 0.0717)),
        "pieapp": ((0.6562, 0.5943, 0.5484), (1.2983, 1.2821, 1.2720), (0.7259, 0.7031, 0.6616)),
    },
}
_TABLE2 = {
    "clip-rn50": (32.669, 0.958, 47.882, 4.838, 0.073, 0.638),
    "clip-rn101": (32.637, 0.958, 44.873, 4.755, 0.068, 0.622),
    "clip-vit-b32": (32.176, 0.953, 43.466, 4.384, 0.059, 0.602),
    "clip-vit-b16": (32.047, 0.952, 41.124, 4.149, 0.058, 0.623),
    "clip-vit-l14": (31.760, 0.949, 41.032, 4.204, 0.060, 0.649),
}
_TABLE3 = {
    1: (32.511, 0.956, 43.913, 4.316, 0.063, 0.500),
    3: (32.439, 0.955, 42.788, 4.184, 0.055, 0.548),
    5: (32.304, 0.955, 45.214, 4.386, 0.061, 0.601),
    7: (31.948, 0.951, 42.140, 4.393, 0.068, 0.579),
    9: (32.184, 0.954, 45.122, 4.377, 0.064, 0.596),
    11: (32.211, 0.954, 45.139, 4.417, 0.064, 0.619),
}


def table1(network: str, loss: str, dataset: str) -> Values:
    """Return a row of Table 1.

    >>> table1("hinet", "tfmlc", "GoPro")["lpips"]
    0.0554
    """
    rows = _TABLE1[network]
    return {column: rows[column][SETS.index(dataset)][LOSSES.index(loss)] for column in COLUMNS}


def table2(backbone: str) -> Values:
    """Return a row of Table 2: HINet with FMLC on the final layer of a backbone, on GoPro.

    >>> table2("clip-vit-b16")["psnr"]
    32.047
    """
    return dict(zip(COLUMNS, _TABLE2[backbone], strict=True))


def table3(block: int) -> Values:
    """Return a row of Table 3: HINet with TFMLC on a block of ViT-B/16, on GoPro.

    >>> table3(3)["lpips"]
    0.055
    """
    return dict(zip(COLUMNS, _TABLE3[block], strict=True))


def find_values(name: str) -> Values:
    """Return a row by its name.

    Args:
        name: ``table1/NETWORK/LOSS/SET``, ``table2/BACKBONE`` or ``table3/BLOCK``.

    Returns:
        The values under the names that they have in a scores file.

    Raises:
        UserError: If there is no such row. The error has the most similar name.

    Example:
        >>> find_values("table3/3")["tfmlc-paper-hinet/psnr"]
        32.439
    """
    rows = {
        **{
            f"table1/{network}/{loss}/{place}": (network, table1(network, loss, place))
            for network in _TABLE1
            for loss in LOSSES
            for place in SETS
        },
        **{f"table2/{backbone}": ("hinet", table2(backbone)) for backbone in BACKBONES},
        **{f"table3/{block}": ("hinet", table3(block)) for block in BLOCKS},
    }
    if name not in rows:
        raise unknown_name("row of the paper", name, rows)
    return as_columns(*rows[name])


def protocol_of(network: str) -> str:
    """Return the protocol with which the paper scored the images of a network.

    >>> protocol_of("mprnet-lite")
    'tfmlc-paper-mprnet'
    """
    return f"tfmlc-paper-{network.partition('-')[0]}"


def as_columns(network: str, values: Values) -> Values:
    """Rename the values of a row as in a scores file, where PSNR and SSIM have the prefix of the protocol."""
    return {f"{protocol_of(network)}/{key}" if key in ("psnr", "ssim") else key: value for key, value in values.items()}
