"""On a GPU a suite runs, is cached, compares with its baseline and replays as on a CPU."""

import pytest
import torch

CONVNET = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.kernels = nn.Parameter(torch.randn(8, 1, 3, 3, generator=generator))
            self.last = nn.Parameter(torch.randn(8 * 36, 4, generator=generator) / 17)

        def forward(self, x):
            features = nn.functional.conv2d(x, self.kernels).relu()
            return features.view(len(x), -1) @ self.last


    @pytest.fixture(scope="session")
    def aerobust_model():
        return Net()


    @pytest.fixture(scope="session")
    def aerobust_data(aerobust_model):
        inputs = torch.rand(128, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return inputs, aerobust_model(inputs).argmax(dim=1)
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_is_kept_of_a_gpu_is_believed(suite):
    """A second run answers from the cache and meets its baseline, and one on the CPU measures."""
    suite.conftest(CONVNET)
    suite.tests("""
        @robust("bim", eps=0.01, max_regression=0.0)
        def test_it():
            pass


        @robust("fmn", eps=0.02, min_acc=0.1)
        def test_nearest():
            pass
    """)
    device = "--aerobust-device=cuda"
    first = suite.run(device, "--aerobust-update")
    first.assert_outcomes(passed=2)
    again = suite.run(device)
    again.assert_outcomes(passed=2)
    assert all("cached" in row for row in suite.measured(again).values())
    suite.run("--aerobust-device=cpu").assert_outcomes(passed=2)
