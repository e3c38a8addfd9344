"""Every environment variable that Jittor 1.3.11 reads, and what becomes of it.

Each flag of Jittor's is read from a variable of its name while it is imported: `use_cuda=1` from somebody's shell ends
the process where there is no GPU, others change results. The project sets what it needs and lets the rest not through.
"""
from __future__ import annotations

import os

from jittor_ipl.runtime import system

# Where things lie and how many compilers run: these change no result.
HONOURED = ("JITTOR_HOME", "cc_path", "nvcc_path", "python_config_path", "mpicc_path", "cuda_archs",
            "DISABLE_MULTIPROCESSING", "use_parallel_op_compiler")
SWITCHES = frozenset("""
    CHECK_MEMORY CUTLASS_PATH CUTT_PATH DUMP_NAN_INPUT FIX_TORCH_ERROR JTCUDA_VERSION SKEY SWAIT addr2line_path amp_reg
    auto_convert_64_to_32 auto_mixed_precision_level cache_name cache_path cc_flags cc_type check_graph compile_options
    conv_opt cpu_mem_limit cuda_arch cuda_debug cutlass_include_path cutt_include_path cutt_lib_path debug device_id
    device_mem_limit disable_lock enable_lto enable_tuner exclude_pass exec_called extra_gdb_cmd gdb_attach gdb_path
    gopt_disable has_pybt hipcc_path jit_search_kernel jit_search_rerun jit_search_warmup jittor_path kernel_flags
    l1_cache_size lazy_execution log_file log_op_hash log_silent log_sync log_v log_vprefix mkl_include_path
    mkl_lib_path mp_log_v nccl_include_path nccl_lib_path no_fuse no_grad node_order nthread nvcc_flags para_opt_level
    profile_memory_enable profiler_enable profiler_hide_relay profiler_record_peek profiler_record_shape profiler_rerun
    profiler_warmup python_path reuse_array rewrite_op sfrl_large_block_size_device stat_allocator_total_alloc_byte
    stat_allocator_total_alloc_call stat_allocator_total_free_byte stat_allocator_total_free_call sync_run th_mode
    tikcc_path trace_depth trace_py_var trace_var_data try_use_32bit_index use_auto_diff use_cuda
    use_cuda_host_allocator use_cuda_managed_allocator use_cutlass use_cutt use_data_gz use_mkl use_mpi use_nccl
    use_nfef_allocator use_sfrl_allocator use_stat_allocator use_temp_allocator use_tensorcore use_threading""".split())
MACROS = "JT_"  # a variable of such a name becomes a macro of whatever is compiled while it is set, now or later


def settings(device: str) -> dict[str, str]:
    """Return what Jittor must find in the environment while it is imported for "cpu" or "cuda"."""
    under_mpi = "OMPI_COMM_WORLD_SIZE" in os.environ
    values = {"FIX_TORCH_ERROR": "0",  # else a PyTorch that happens to be installed is imported first
              "log_silent": "1", "use_mpi": str(int(under_mpi)),
              "cache_name": "default",  # else the git branch of the folder around the environment names the cache
              "gdb_path": "", "hipcc_path": "", "tikcc_path": "",  # else tools that happen to be on PATH are tried
              "use_cutt": "0", "use_cutlass": "0", "use_nccl": "0"}  # these three are downloads
    if device == "cpu":
        values["nvcc_path"] = ""
    config = system.python_config()
    if config is not None:
        values["python_config_path"] = str(config)
    return values


def ignored_switches(device: str) -> list[str]:
    """Return, as name=value and sorted, the variables set here that Jittor would obey and must not."""
    ours = settings(device)
    return sorted(f"{name}={' '.join(value.split())[:40]}" for name, value in os.environ.items()
                  if (name in SWITCHES or name.startswith(MACROS)) and ours.get(name) != value)
