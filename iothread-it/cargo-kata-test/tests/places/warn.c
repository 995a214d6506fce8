/* A module that warns when it is loaded. The last lines are what modpost would write. */
#define INCLUDE_VERMAGIC
#include <linux/module.h>
#include <linux/vermagic.h>

static int __init warns(void)
{
	WARN(1, "made by a test\n");
	return 0;
}

module_init(warns);
MODULE_LICENSE("GPL");

MODULE_INFO(vermagic, VERMAGIC_STRING);
MODULE_INFO(name, KBUILD_MODNAME);
__visible struct module __this_module __section(".gnu.linkonce.this_module") = {
	.name = KBUILD_MODNAME,
	.init = init_module,
};
