import pytest


@pytest.fixture(scope="session")
def ip_folders(tmp_path_factory):
    """Folder of the diffusion model and of its IP-Adapter, by family."""
    from tests.generation.families.tiny_ip import PARTS, write_base, write_ip_adapter

    root = tmp_path_factory.mktemp("ip")
    return {
        family: (write_base(family, root / family / "base"), write_ip_adapter(family, root / family / "adapter"))
        for family in PARTS
    }
